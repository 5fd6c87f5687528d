"""From a source to a prepared dataset: drawn or read once, in parallel, into memory-mapped shards that training reads.

A prepared folder holds `shard-00000.arrow`, …, `vocabulary.json` and, written last, `manifest.json`: a folder with a
manifest is whole. A run that was killed leaves finished shards; the next one keeps those that verify and makes the
rest, to the same bytes.
"""

from __future__ import annotations

import json
import math
import multiprocessing
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from rrg_lib.data.images import SIZE
from rrg_lib.data.layouts.collection import ViewRule
from rrg_lib.data.layouts.paths import listing
from rrg_lib.data.prepared_dataset import PreparedDataset
from rrg_lib.data.remarks import Remark, remarks_on_reports
from rrg_lib.data.shards import (
    FORMAT,
    MANIFEST,
    MAX_REJECTED,
    REJECTED,
    VOCABULARY,
    Shard,
    save_rejected,
    shard_request,
    write_shard,
)
from rrg_lib.data.sources import PROTOCOL_OF, VIEWS, Source, find_source
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, SPLITS, Study
from rrg_lib.data.text.vocabulary import Protocol, Vocabulary
from rrg_lib.data.text.vocabulary import protocol as find_protocol
from rrg_lib.errors import AnnotationError, ConfigurationError, DataRootError, ImageError, RRGError
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.worker_pool import cpus, in_order
from rrg_lib.runtime.workspace import locked, workspace, write_json

#: What is said when a process died that was writing a shard.
_AFTER_A_DEATH = (
    "Finished shards are kept. Run again, with fewer workers if it was memory; a script must call prepare under "
    "`if __name__ == '__main__':`, or with workers=1"
)


def prepare(
    source: str,
    *,
    out: Path | str | None = None,
    data_root: Path | str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    count: int | None = None,
    layout: str | None = None,
    views: ViewRule | None = None,
    max_rejected: float = MAX_REJECTED,
    workers: int | None = None,
    shard_size: int = 128,
    progress: bool = True,
) -> PreparedDataset:
    """Prepares `source` and opens it. What is there already is kept: a second call returns at once and changes nothing.

    Args:
        source: a name in `rrg_lib.data.sources.SOURCES`.
        out: the folder; by default one in the workspace whose name tells source, protocol, seed, count and version of
            the drawing.
        data_root: where the real images are, for a source that reads some; or a folder that was prepared before, with
            whatever options: it is opened.
        protocol: how reports are cleaned; by default `r2gen`, for the large collections (`mimic_cxr`,
            `chexpert_plus`, `rexgradient`) `r2gen_mimic`.
        seed: of the drawings (and of the sampled studies of `phantom`); real images have none.
        count: so many studies only, spread evenly over the splits (for `phantom`: how many to make).
        layout: one of `LAYOUTS`, for real images; by default told from the folder.
        views: one of `ViewRule`, for real images; by default the first views as released, for `mimic_cxr` and
            `chexpert_plus` one frontal view, for `rexgradient` a frontal one first.
        max_rejected: images that are missing or can't be read are set aside and listed in `rejected.csv`, a study
            without any other with them; when they are more than this share of all, the run stops instead.
        workers: processes, by default one a CPU; 1 stays in this process. The bytes do not depend on it. Processes are
            spawned: a *script* that calls this with more than one needs the usual `if __name__ == "__main__":`, a
            notebook does not.
        shard_size: studies a file, and so the memory a process takes (128 KiB a study of two views).

    Raises:
        UnknownNameError, DataRootError, AnnotationError, ReportError: see `find_source` and the sources.
        DataRootError, ImageError: more images than `max_rejected` are missing, or can't be read.
        ConfigurationError: the folder holds another request; says what differs.
        StorageError: the disk is full or not writable. Finished shards stay; nothing is half-written.
    """
    if getattr(
        multiprocessing.current_process(), "_inheriting", False
    ):  # would wait for ever for the lock that its parent holds
        raise ConfigurationError(
            "this script calls prepare while its processes load it: call it under `if __name__ == '__main__':`, or "
            "with workers=1"
        )
    if data_root and (Path(data_root).expanduser() / MANIFEST).is_file():
        return _opened(Path(data_root).expanduser(), source)
    if shard_size < 1 or (workers is not None and workers < 1):
        raise ConfigurationError(f"shard_size is {shard_size} and workers is {workers}; expected at least 1 of each")
    if not 0 <= max_rejected <= 1:
        raise ConfigurationError(f"max_rejected is {max_rejected}; expected a share of the images, 0 to 1")
    chosen = find_source(source, data_root=data_root, seed=seed, count=count, layout=layout, views=views)
    rules = find_protocol(protocol or PROTOCOL_OF.get(source, "r2gen"))
    request = _request(chosen, rules, shard_size)
    folder = Path(out).expanduser() if out else _default_folder(chosen.name, request)
    if not _is_whole(folder, request):
        with locked(folder):
            if not _is_whole(folder, request):  # another process may have made it while this one waited
                _check_there(chosen, max_rejected)
                _build(folder, chosen, rules, request, shard_size, max_rejected, workers or cpus(), progress)
    return PreparedDataset.open(folder)


def _opened(folder: Path, source: str) -> PreparedDataset:
    """A prepared folder given as the data root, so that what was prepared with a layout or rule of one's own can be
    trained on."""
    opened = PreparedDataset.open(folder)
    if (holds := opened.manifest["request"]["source"]) != source:
        raise ConfigurationError(
            f"{folder} was prepared from {holds}, not from {source}. Name that dataset, or give the folder of the real "
            f"images"
        )
    return opened


def prepared_folder(source: str, *, protocol: str | None = None, **options: Any) -> Path:
    """Where `prepare` puts this request by default; `options` are those of `find_source`. Raises as `prepare` does for
    what does not exist."""
    chosen = find_source(source, **options)
    return _default_folder(
        chosen.name, _request(chosen, find_protocol(protocol or PROTOCOL_OF.get(source, "r2gen")), 1)
    )


def _request(source: Source, protocol: Protocol, shard_size: int) -> dict[str, Any]:
    """Everything that decides what is written; the same request in the same folder is the same bytes."""
    names = content_hash([DRAWN_FINDINGS, OBSERVATIONS])
    fixed = {"format": FORMAT, "image_size": SIZE, "views": VIEWS, "labels": names, "shard_size": shard_size}
    return {
        "source": source.name,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        **source.identity(),
        **fixed,
    }


def _default_folder(name: str, request: dict[str, Any]) -> Path:
    parts = [name, request["protocol"]]
    parts += [f"{key}{request[key]}" for key in ("seed", "count") if request.get(key) is not None]
    parts += [str(request[key]) for key in ("drawing", "layout", "views_rule") if request.get(key) is not None]
    if name == "own":  # there is more than one folder of one's own, and each grows
        parts.append(content_hash([request["annotation"], request["images"]])[:6])
    return workspace() / "prepared" / "-".join(parts)


def _build(
    folder: Path,
    source: Source,
    protocol: Protocol,
    request: dict[str, Any],
    shard_size: int,
    max_rejected: float,
    workers: int,
    progress: bool,
) -> None:
    """The shards, the vocabulary, what was set aside, and last the manifest."""
    studies = source.studies()
    reports = source.vocabulary_reports()
    _check_studies(studies, reports, protocol)
    words = json.dumps(request, sort_keys=True)
    names = [f"shard-{i:05d}.arrow" for i in range(-(-len(studies) // shard_size))]
    _clear(folder, names, request)
    vocabulary = Vocabulary.build(reports, protocol)
    tasks = (
        (folder / name, source, studies[i * shard_size : (i + 1) * shard_size], vocabulary, words)
        for i, name in enumerate(names)
    )
    shards, rejected = [], []
    images = sum(min(len(study.views), VIEWS) for study in studies)
    with tqdm(total=len(studies), desc=f"prepare {source.name}", unit="study", disable=not progress) as bar:
        for shard in in_order(write_shard, tasks, min(workers, len(names)), advice=_AFTER_A_DEATH):
            shards.append(shard)
            rejected += shard.rejected
            bar.update(shard.studies + len({entry.study for entry in shard.rejected if entry.dropped}))
            if len(rejected) > max_rejected * images:
                save_rejected(folder / REJECTED, rejected)
                raise ImageError(
                    f"{len(rejected)} of {images} images could not be used so far, more than {max_rejected:.0%} "
                    f"(--max-rejected); the first is of study {rejected[0].study}: {rejected[0].reason.rstrip('.')}. "
                    f"All of them with their reasons are in {folder / REJECTED}"
                )
    dropped = {entry.study for entry in rejected if entry.dropped}
    kept = [study for study in studies if study.id not in dropped]
    if rejected:
        save_rejected(folder / REJECTED, rejected)
    if any(study.split == "train" for study in studies) and not any(study.split == "train" for study in kept):
        raise ImageError(
            f"of {len(studies)} studies {len(kept)} have an image that can be used, none of them for training. The "
            f"others with their reasons are in {folder / REJECTED}; mend the paths, or get the images again"
        )
    write_json(folder / VOCABULARY, vocabulary.to_json())
    told = {"left_out": source.left_out(), "split_source": source.split_source()}
    told["remarks"] = [str(remark) for remark in (*source.remarks(), *_remarks(source, studies, vocabulary))]
    known = {name: value for name, value in told.items() if value}
    write_json(folder / MANIFEST, _manifest(request, kept, vocabulary, shards) | known)


def _remarks(source: Source, studies: Sequence[Study], vocabulary: Vocabulary) -> list[Remark]:
    """Of the reports of one's own; the others' are published with what is odd in them."""
    reports = [study.report for study in studies if study.split == "train"]
    return remarks_on_reports(reports, vocabulary) if source.name == "own" else []


def _check_there(source: Source, max_rejected: float) -> None:
    """Before hours of reading: are the images there?"""
    if missing := source.missing():
        images = sum(min(len(study.views), VIEWS) for study in source.studies())
        if len(missing) > max_rejected * images:
            raise DataRootError(
                f"{source.collection.images}: {len(missing)} of {images} images are missing, the first {missing[0]!r}; "
                f"{listing(source.collection.images)}. Put the images there{go_on_without(len(missing), images)}"
            )


def go_on_without(missing: int, images: int) -> str:
    """In words, how to go on without some images; nothing where there would be none left."""
    share = math.ceil(100 * missing / images) / 100  # rounded down it would not be enough
    return f", or go on with those that are: --max-rejected {share:.2f}" if missing < images and share < 1 else ""


def _check_studies(studies: Sequence[Study], vocabulary_reports: Sequence[str], protocol: Protocol) -> None:
    """Before hours of drawing: every id once, every report with words, some reports to learn the words from."""
    if twice := [study_id for study_id, n in Counter(study.id for study in studies).items() if n > 1]:
        raise AnnotationError(
            f"the id {twice[0]!r} stands for more than one study; every study has its own id. Remove the others"
        )
    for study in studies:
        protocol.clean_checked(study.report, study.id)
    if not vocabulary_reports:
        raise AnnotationError(
            f"none of the {len(studies)} studies is in the split 'train', whose reports make the vocabulary. Put some "
            f"there"
        )


def _manifest(
    request: dict[str, Any], studies: Sequence[Study], vocabulary: Vocabulary, shards: list[Shard]
) -> dict[str, Any]:
    ids = {split: [study.id for study in studies if study.split == split] for split in SPLITS}
    content = {
        "protocol_hash": request["protocol_hash"],
        "split_hash": content_hash(ids),
        "vocabulary_hash": vocabulary.hash,
        "labels_hash": request["labels"],
    }
    # The digests are of the studies' content, so that where the same pictures came from does not change the hash; how
    # they are cut into shards does.
    return {
        "format": FORMAT,
        "hash": content_hash([content, [shard.digest for shard in shards]]),
        "request": request,
        **content,
        "image_size": SIZE,
        "views": VIEWS,
        "studies": len(studies),
        "splits": {split: len(members) for split, members in ids.items()},
        "shards": [{name: value for name, value in asdict(shard).items() if name != "rejected"} for shard in shards],
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
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RRGError,
    ):  # no manifest, or something is missing or damaged: it is made (again)
        return False


def _check_same(folder: Path, has: dict[str, Any], asked: dict[str, Any]) -> None:
    if different := [key for key in sorted({*has, *asked}) if has.get(key) != asked.get(key)]:
        lines = "; ".join(f"{key} is {has.get(key)!r} there and {asked.get(key)!r} here" for key in different)
        raise ConfigurationError(
            f"{folder} holds another prepared dataset: {lines}. Choose another folder, or delete this one"
        )


def _clear(folder: Path, names: list[str], request: dict[str, Any]) -> None:
    """Takes away what a killed run left half-written, and refuses a half-made folder of another request."""
    for path in sorted(folder.glob("shard-*.arrow")):
        if (stored := shard_request(path)) is not None:
            _check_same(folder, json.loads(stored), request)
    for part in (*folder.glob(".*.part"), folder / REJECTED):
        part.unlink(missing_ok=True)
