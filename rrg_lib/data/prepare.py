"""From a source to a prepared dataset: drawn or read once, in parallel, into memory-mapped shards that training reads.

A prepared folder holds `shard-00000.arrow`, …, `vocabulary.json` and, written last, `manifest.json`: a folder with a manifest is whole. A run that
was killed leaves finished shards; the next one keeps those that verify and makes the rest, to the same bytes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from rrg_lib.data.images import SIZE
from rrg_lib.data.shards import Shard, shard_request, write_shard
from rrg_lib.data.sources import VIEWS, Source, find_source
from rrg_lib.errors import AnnotationError, ConfigurationError, RRGError
from rrg_lib.hashing import content_hash
from rrg_lib.study import DRAWN_FINDINGS, OBSERVATIONS, SPLITS, Study
from rrg_lib.text.vocabulary import Protocol, Vocabulary
from rrg_lib.text.vocabulary import protocol as find_protocol
from rrg_lib.workspace import locked, workspace, write_json

if TYPE_CHECKING:
    from rrg_lib.data.loading import PreparedDataset

#: Raised whenever a prepared folder of an older version could be read wrongly.
FORMAT = 1
MANIFEST, VOCABULARY = "manifest.json", "vocabulary.json"


def prepare(
    source: str,
    *,
    out: Path | str | None = None,
    data_root: Path | str | None = None,
    protocol: str = "r2gen",
    seed: int = 0,
    count: int | None = None,
    workers: int | None = None,
    shard_size: int = 128,
    progress: bool = True,
) -> PreparedDataset:
    """Prepares `source` and opens it. What is there already is kept: a second call returns at once and changes nothing.

    Args:
        source: a name in `rrg_lib.data.sources.SOURCES`.
        out: the folder; by default one in the workspace whose name tells source, protocol, seed, count and version of the drawing.
        data_root: where the real images are, for a source that reads some.
        seed: of the drawings (and of the sampled studies of `phantom`); real images have none.
        count: so many studies only, spread evenly over the splits (for `phantom`: how many to make).
        workers: processes, by default one a CPU; 1 stays in this process. The bytes do not depend on it. Processes are spawned: a *script*
            that calls this with more than one needs the usual `if __name__ == "__main__":`, a notebook does not.
        shard_size: studies a file, and so the memory a process takes (128 KiB a study of two views).

    Raises:
        UnknownNameError, DataRootError, AnnotationError, ImageError, ReportError: see `find_source` and the sources.
        ConfigurationError: the folder holds another request; says what differs.
        StorageError: the disk is full or not writable. Finished shards stay; nothing is half-written.
    """
    from rrg_lib.data.loading import PreparedDataset  # imports `datasets`, which the spawned workers do without

    if getattr(multiprocessing.current_process(), "_inheriting", False):  # would wait for ever for the lock that its parent holds
        raise ConfigurationError(
            "this script calls prepare while its processes load it: call it under `if __name__ == '__main__':`, or with workers=1"
        )
    if shard_size < 1 or (workers is not None and workers < 1):
        raise ConfigurationError(f"shard_size is {shard_size} and workers is {workers}; expected at least 1 of each")
    chosen = find_source(source, data_root=data_root, seed=seed, count=count)
    rules = find_protocol(protocol)
    request = _request(chosen, rules, shard_size)
    folder = Path(out).expanduser() if out else _default_folder(chosen.name, request)
    with locked(folder):
        if not _is_whole(folder, request):
            _build(folder, chosen, rules, request, shard_size, workers or _cpus(), progress)
    return PreparedDataset.open(folder)


def prepared_folder(source: str, *, data_root: Path | str | None = None, protocol: str = "r2gen", seed: int = 0, count: int | None = None) -> Path:
    """Where `prepare` puts this request by default. Raises as `prepare` does for names and folders that do not exist."""
    chosen = find_source(source, data_root=data_root, seed=seed, count=count)
    return _default_folder(chosen.name, _request(chosen, find_protocol(protocol), 1))


def _request(source: Source, protocol: Protocol, shard_size: int) -> dict[str, Any]:
    """Everything that decides what is written; the same request in the same folder is the same bytes."""
    labels = content_hash([DRAWN_FINDINGS, OBSERVATIONS])
    fixed = {"format": FORMAT, "image_size": SIZE, "views": VIEWS, "labels": labels, "shard_size": shard_size}
    return {"source": source.name, "protocol": protocol.name, "protocol_hash": protocol.hash, **source.identity(), **fixed}


def _default_folder(name: str, request: dict[str, Any]) -> Path:
    parts = [name, request["protocol"]]
    parts += [f"{key}{request[key]}" for key in ("seed", "count") if request.get(key) is not None]
    parts += [str(request[key]) for key in ("drawing", "layout") if request.get(key) is not None]
    return workspace() / "prepared" / "-".join(parts)


def _build(folder: Path, source: Source, protocol: Protocol, request: dict[str, Any], shard_size: int, workers: int, progress: bool) -> None:
    """The shards, the vocabulary, and last the manifest."""
    studies = source.studies()
    _check_studies(studies, protocol)
    words = json.dumps(request, sort_keys=True)
    names = [f"shard-{i:05d}.arrow" for i in range(-(-len(studies) // shard_size))]
    _clear(folder, names, request)
    vocabulary = Vocabulary.build((study.report for study in studies if study.split == "train"), protocol)
    tasks = [(folder / name, source, studies[i * shard_size : (i + 1) * shard_size], vocabulary, words) for i, name in enumerate(names)]
    shards = []
    with tqdm(total=len(studies), desc=f"prepare {source.name}", unit="study", disable=not progress) as bar:
        for shard in _written(tasks, min(workers, len(tasks))):
            shards.append(shard)
            bar.update(shard.studies)
    write_json(folder / VOCABULARY, vocabulary.to_json())
    write_json(folder / MANIFEST, _manifest(request, studies, vocabulary, shards))


def _check_studies(studies: Sequence[Study], protocol: Protocol) -> None:
    """Before hours of drawing: every id once, every report with words, some reports to learn the words from."""
    if twice := [study_id for study_id, n in Counter(study.id for study in studies).items() if n > 1]:
        raise AnnotationError(f"the id {twice[0]!r} stands for more than one study; every study has its own id. Remove the others")
    for study in studies:
        protocol.clean_checked(study.report, study.id)
    if not any(study.split == "train" for study in studies):
        raise AnnotationError(f"none of the {len(studies)} studies is in the split 'train', whose reports make the vocabulary. Put some there")


def _manifest(request: dict[str, Any], studies: Sequence[Study], vocabulary: Vocabulary, shards: list[Shard]) -> dict[str, Any]:
    ids = {split: [study.id for study in studies if study.split == split] for split in SPLITS}
    content = {
        "protocol_hash": request["protocol_hash"],
        "split_hash": content_hash(ids),
        "vocabulary_hash": vocabulary.hash,
        "labels_hash": request["labels"],
    }
    # The digests are of the studies' content, so that where the same pictures came from does not change the hash; how they are cut into shards does.
    return {
        "format": FORMAT,
        "hash": content_hash([content, [shard.digest for shard in shards]]),
        "request": request,
        **content,
        "image_size": SIZE,
        "views": VIEWS,
        "studies": len(studies),
        "splits": {split: len(found) for split, found in ids.items()},
        "shards": [asdict(shard) for shard in shards],
    }


def _is_whole(folder: Path, request: dict[str, Any]) -> bool:
    """Whether the folder holds this request, finished. Raises `ConfigurationError` if it holds another."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        sizes = {shard["name"]: shard["bytes"] for shard in manifest["shards"]}
        _check_same(folder, manifest["request"], request)
        Vocabulary.from_json(json.loads((folder / VOCABULARY).read_text(encoding="utf-8")))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except ConfigurationError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RRGError):  # no manifest, or something is missing or damaged: it is made (again)
        return False


def _check_same(folder: Path, has: dict[str, Any], asked: dict[str, Any]) -> None:
    if different := [key for key in sorted({*has, *asked}) if has.get(key) != asked.get(key)]:
        lines = "; ".join(f"{key} is {has.get(key)!r} there and {asked.get(key)!r} here" for key in different)
        raise ConfigurationError(f"{folder} holds another prepared dataset: {lines}. Choose another folder, or delete this one")


def _clear(folder: Path, names: list[str], request: dict[str, Any]) -> None:
    """Takes away what a killed run left half-written, and refuses a half-made folder of another request."""
    for path in sorted(folder.glob("shard-*.arrow")):
        if (stored := shard_request(path)) is not None:
            _check_same(folder, json.loads(stored), request)
    for part in folder.glob(".*.part"):
        part.unlink()


def _written(tasks: list[tuple], workers: int) -> Iterator[Shard]:
    """The shards of the tasks in their order, made by that many processes, with a bounded number of tasks waiting."""
    if workers <= 1:
        yield from (write_shard(*task) for task in tasks)
        return
    # Spawned, never forked: this process may hold threads (torch, a notebook's), and a fork of those can hang.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    waiting: deque[Future[Shard]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(write_shard, *task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        advice = "Run again, with fewer workers if it was memory; a script must call prepare under `if __name__ == '__main__':`, or with workers=1"
        raise RRGError(f"a preparing process died (killed, or out of memory?). Finished shards are kept. {advice}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread a process; and no process that outlives a killed parent."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
