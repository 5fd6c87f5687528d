"""A prepared dataset, memory-mapped: what training, generation, evaluation and the figures read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rrg_lib.data.layouts.paths import listing
from rrg_lib.data.shards import (
    FORMAT,
    MANIFEST,
    REJECTED,
    VOCABULARY,
    Rejected,
    boxes_of,
    load_rejected,
    mapped_shard,
    shard_request,
    study_of,
)
from rrg_lib.data.sources import views_option
from rrg_lib.data.study import Box, Split, Study
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import DataRootError, RRGError, UnknownNameError
from rrg_lib.runtime.choices import check_choice


class PreparedDataset:
    """Studies by number, in the order of their source. Opening costs milliseconds and no memory: pictures are pages of
    the files.

    `hash` names the content (pictures, words, labels, split, vocabulary); `table` is the Arrow table over the mapped
    files, a row a study, with the columns of `shards.SCHEMA`.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], vocabulary: Vocabulary):
        self.folder, self.manifest, self.vocabulary = folder, manifest, vocabulary
        self.hash: str = manifest["hash"]

    @cached_property
    def table(self) -> pa.Table:
        """Mapped at first use: of a file that is only opened nothing is in memory. Raises `DataRootError` for one that
        is damaged."""
        try:
            return pa.concat_tables(mapped_shard(self.folder / shard["name"]) for shard in self.manifest["shards"])
        except (OSError, pa.ArrowException, KeyError, TypeError) as error:
            raise DataRootError(
                f"{self.folder}: the prepared dataset is damaged ({error}). Run: {_command(self.folder)}"
            ) from error

    @classmethod
    def open(cls, folder: Path | str) -> PreparedDataset:
        """The dataset that `prepare` wrote to `folder`.

        Raises `DataRootError` if it is absent, half-made, damaged or of another format; the message says what to run.
        """
        folder = Path(folder).expanduser()
        if not (folder / MANIFEST).is_file():
            raise DataRootError(
                f"{folder}: no prepared dataset; looked for {MANIFEST}; {listing(folder)}. Run: {_command(folder)}"
            )
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["format"] != FORMAT:
                raise DataRootError(
                    f"{folder}: has format {manifest['format']}, this version reads {FORMAT}. Delete it, then run: "
                    f"{_command(folder)}"
                )
            vocabulary = Vocabulary.from_json(json.loads((folder / VOCABULARY).read_text(encoding="utf-8")))
            if vocabulary.hash != manifest["vocabulary_hash"]:
                raise DataRootError(
                    f"{folder / VOCABULARY}: is the vocabulary of another dataset. Run: {_command(folder)}"
                )
            for shard in manifest["shards"]:
                if (size := (folder / shard["name"]).stat().st_size) != shard["bytes"]:
                    raise DataRootError(
                        f"{folder / shard['name']}: has {size} bytes, expected {shard['bytes']}. Run: "
                        f"{_command(folder)}"
                    )
        except DataRootError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RRGError) as error:
            raise DataRootError(
                f"{folder}: the prepared dataset is damaged ({error}). Run: {_command(folder)}"
            ) from error
        return cls(folder, manifest, vocabulary)

    def __reduce__(self):  # a loader's processes open the files again instead of receiving a copy of them
        return PreparedDataset.open, (self.folder,)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {split}" for split, n in self.manifest["splits"].items())
        return f"PreparedDataset({self.manifest['request']['source']}: {counts}; hash {self.hash})"

    def __len__(self) -> int:
        return self.manifest["studies"]

    def __iter__(self) -> Iterator[Study]:
        return (self.study(i) for i in range(len(self)))

    def _column(self, name: str) -> pa.ChunkedArray:
        return self.table.column(name)

    @cached_property
    def ids(self) -> list[str]:
        return self._column("id").to_pylist()

    @cached_property
    def splits(self) -> list[str]:
        return self._column("split").to_pylist()

    @cached_property
    def reports(self) -> list[str]:
        """The reports as written."""
        return self._column("report").to_pylist()

    @cached_property
    def drawn_findings(self) -> np.ndarray:
        """(n, 13) uint8 in the order of `DRAWN_FINDINGS`, from the expert codes. A study without any code is all 0: see
        `coded`."""
        return self._indicators("drawn")

    @cached_property
    def observations(self) -> np.ndarray:
        """(n, 14) uint8 in the order of `OBSERVATIONS`, from the expert codes."""
        return self._indicators("observations")

    @cached_property
    def coded(self) -> np.ndarray:
        """(n,) bool: whether the experts coded the study at all ("normal" is a code). Findings and observations of a
        study they did not code mean nothing."""
        return (
            np.concatenate(
                [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in self._column("findings").chunks]
            )
            > 0
        )

    def _indicators(self, column: str) -> np.ndarray:
        """(n, C) zeros and ones, read-only."""
        indicators = np.concatenate([chunk.flatten().to_numpy() for chunk in self._column(column).chunks]).reshape(
            len(self), -1
        )
        indicators.flags.writeable = False
        return indicators

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {study_id: i for i, study_id in enumerate(self.ids)}

    def index(self, study_id: str) -> int:
        """The number of a study. Raises `UnknownNameError` with the nearest ids."""
        if study_id not in self._numbers:
            raise UnknownNameError("study", study_id, self.ids)
        return self._numbers[study_id]

    def split_indices(self, split: str) -> list[int]:
        """The numbers of the studies of "train", "val" or "test". Raises `UnknownNameError`."""
        check_choice("split", split, Split)
        return [i for i, name in enumerate(self.splits) if name == split]

    def study(self, i: int) -> Study:
        """The record: report, codes, image names."""
        return study_of(
            {name: self._column(name)[i].as_py() for name in ("id", "split", "report", "findings", "files", "source")}
        )

    def boxes(self, i: int) -> tuple[Box, ...]:
        """Where the findings are; empty for real images of a collection without boxes. A view that repeats another has
        its boxes too."""
        return boxes_of({"boxes": self._column("boxes")[i].as_py()})

    def provenance(self, i: int) -> dict[str, Any]:
        """How the views came about: drawn (seed) or from which files, and how many of them repeat the study's last one
        (`repeated_views`)."""
        return json.loads(self._column("provenance")[i].as_py())

    def num_views(self, i: int) -> int:
        """How many of the views are the study's own; the rest repeat the last of them, because a model's input is
        rectangular."""
        return self._column("num_views")[i].as_py()

    def views(self, i: int) -> np.ndarray:
        """(V, H, W) uint8, read-only, straight from the mapped file."""
        size = self.manifest["image_size"]
        views = np.frombuffer(self._column("views")[i].as_buffer(), np.uint8).reshape(-1, size, size)
        views.flags.writeable = False  # the file is mapped read-only: writing would end the process, not raise
        return views

    def views_array(self, indices: Sequence[int]) -> np.ndarray:
        """(n, V, H, W) uint8, a copy."""
        size = self.manifest["image_size"]
        views = np.empty((len(indices), self.manifest["views"], size, size), np.uint8)
        for row, i in enumerate(indices):
            views[row] = self.views(int(i))
        return views

    def tokens(self, i: int) -> list[int]:
        """The report's token ids, begin and end included, cut at the protocol's `max_length`."""
        return self._column("tokens")[i].as_py()

    def cleaned(self, i: int) -> str:
        """The cleaned report, uncut."""
        return self._column("cleaned")[i].as_py()

    @cached_property
    def rejected(self) -> tuple[Rejected, ...]:
        """The images that were set aside when this was prepared, with their reasons."""
        return load_rejected(self.folder / REJECTED)

    def reference(self, i: int) -> str:
        """What a hypothesis for this study is scored against by the protocol."""
        protocol = self.vocabulary.protocol
        return self.vocabulary.decode(self.tokens(i)) if protocol.encoded_references else self.cleaned(i)


def _command(folder: Path) -> str:
    """The command that makes the dataset in `folder`, as far as what is left in it tells."""
    stored = (
        next(filter(None, map(shard_request, sorted(folder.glob("shard-*.arrow")))), None) if folder.is_dir() else None
    )
    if stored is None:
        return f"rrg prepare iu_phantom --out {folder}"
    request = json.loads(stored)
    options = "".join(
        f" --{key} {request[key]}" for key in ("protocol", "seed", "count") if request.get(key) is not None
    )
    if "layout" in request:  # named always: whether the folder's own layout would be another one is not known here
        views = views_option(request["source"], request.get("views_rule", "as_released"))
        options += f" --layout {request['layout']}{views} --data-root FOLDER"
    return f"rrg prepare {request['source']}{options} --out {folder}"
