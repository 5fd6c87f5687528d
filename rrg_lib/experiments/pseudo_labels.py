"""Pseudo labels: which of the 14 observations a study has, from whatever can tell (XProNet Eq. 3). Four sources, one
form.

- `expert_labels`: the expert codes of the collection, where there are none the report. For training, the default.
- `report_labels`: the report, its IMPRESSION or both, read by `rrg_lib.data.text.rule_labeler`. For training, as the
  paper does it, with our labeler in CheXbert's place.
- `read_labels`: a file, CSV, JSON or the release's pickle. For training, with MIMIC-CXR's CheXpert labels.
- `image_labels`: a `FindingExtractor`, from the images alone. At test time, when nothing is taken from the reference.

The release labels training and test studies alike by CheXbert on the reference reports; at test time that is a leak.
The file that it keeps for IU X-Ray was made from the IMPRESSION, what the radiologist concluded, and the model learns
to write the FINDINGS.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rrg_lib.data import iu_xray
from rrg_lib.data.finding_labels import who_says
from rrg_lib.data.label_pickle import load_label_pickle
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, Split
from rrg_lib.data.text.rule_labeler import NEWEST, ReportLabeler
from rrg_lib.errors import AnnotationError, ConfigurationError, UnknownNameError
from rrg_lib.experiments.extractors import finding_weights
from rrg_lib.models.decoding import LabelsAtTest
from rrg_lib.models.visual.finding_extractor import FindingExtractor, finding_logits
from rrg_lib.runtime.choices import check_choice
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.spreadsheet import of_cell

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset

#: The profile whose classifier `findings_seen` asks: of IU-Phantom its very weights come with the package.
SEEN_BY = "laptop"

LabelOrder = Literal["observations", "iu_xray", "mimic_cxr"]
#: How files without names number the observations. Both released pickles end with "No Finding": the one for IU X-Ray is
#: in the order of CheXbert (the counts per class printed in the release fit no other), the one for MIMIC-CXR in that of
#: its CheXpert table, alphabetical.
LABEL_ORDERS: dict[LabelOrder, tuple[str, ...]] = {
    "observations": OBSERVATIONS,
    "iu_xray": (*OBSERVATIONS[1:], OBSERVATIONS[0]),
    "mimic_cxr": (*sorted(OBSERVATIONS[1:]), OBSERVATIONS[0]),
}
#: The observation that each drawn finding counts as, by the majority of the expert codes behind it
#: (data/mesh_findings.csv). Four have none; and of the observations, Enlarged Cardiomediastinum, Consolidation,
#: Pneumonia and Pleural Other are nobody's, so no image is ever labelled with them.
DRAWN_OBSERVATIONS: dict[str, str] = {
    "Cardiomegaly": "Cardiomegaly",
    "Opacity": "Lung Opacity",
    "Atelectasis": "Atelectasis",
    "Effusion": "Pleural Effusion",
    "Pneumothorax": "Pneumothorax",
    "Nodule": "Lung Lesion",
    "Edema": "Edema",
    "Device": "Support Devices",
    "Fracture": "Fracture",
}
#: What `memory.label_source` can be beside a label file: the expert codes, or what our labeler reads in the report that
#: the system learns to write (of IU X-Ray the FINDINGS), in the IMPRESSION, or in both.
LABEL_SOURCES = ("expert", "reports", "impression", "both")
Section = Literal["reports", "impression", "both"]
_IDS = ("id", "study", "study_id", "dicom_id")
#: A study of IU X-Ray by its number, whatever follows: of one whose images were taken in two sittings some lists keep
#: the longer id of the first image.
_NUMBERED = re.compile(r"CXR(\d+)_")
_NO_FINDING = OBSERVATIONS.index("No Finding")


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """`labels`: (14,) uint8 zeros and ones by study id, in the order of `OBSERVATIONS`. `source` says where they come
    from.

    A study of IU X-Ray is found by the number after "CXR" too, which is unique there: the released file calls
    `CXR1032_IM-0026-1001`, and 135 others of the standard split, by its short name `CXR1032_IM-0026`.
    """

    labels: Mapping[str, np.ndarray]
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of ids and labels, whatever their order."""
        return content_hash({study: row.tolist() for study, row in self.labels.items()})

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """(n, 14) uint8 of these studies. Raises `AnnotationError` with the first of those that have no label, or whose
        number stands for several."""
        names = {study: study if study in self.labels else self._by_number(study) for study in ids}
        missing = [study for study, name in names.items() if name is None]
        if missing:
            raise AnnotationError(
                f"{self.source}: {len(missing)} of {len(ids)} studies have no labels, the first {missing[0]!r} (it has "
                f"{len(self)}, for example {next(iter(self.labels), 'none')!r}). Add them, or use labels whose ids are "
                "the dataset's"
            )
        if twice := [name for name, n in Counter(names.values()).items() if n > 1]:
            several = [study for study, name in names.items() if name == twice[0]]
            raise AnnotationError(
                f"{self.source}: {twice[0]!r} would be the labels of {' and '.join(several)}. Give each its own, by "
                f"its own id"
            )
        return (
            np.stack([self.labels[names[study]] for study in ids])
            if len(ids)
            else np.zeros((0, len(OBSERVATIONS)), np.uint8)
        )

    @cached_property
    def _numbers(self) -> dict[str, list[str]]:
        """The ids that hold each number after "CXR"."""
        numbers: dict[str, list[str]] = {}
        for name in self.labels:
            if match := _NUMBERED.match(name):
                numbers.setdefault(match[1], []).append(name)
        return numbers

    def _by_number(self, study: str) -> str | None:
        """The one id of the same number, None for none. Raises `AnnotationError` for several."""
        match = _NUMBERED.match(study)
        names = self._numbers.get(match[1], []) if match else []
        if len(names) > 1:
            raise AnnotationError(
                f"{self.source}: {study!r} may be any of {', '.join(names)}. Keep one of them, or name the study by "
                f"its own id"
            )
        return names[0] if names else None


def expert_labels(dataset: PreparedDataset) -> PseudoLabels:
    """The observations of the expert codes, "No Finding" where there is no other: experts in the labeler's place
    (XProNet Eq. 3).

    A study that nobody coded gets what our newest labeler reads in its report; `source` says of how many.
    """
    rows, labeler, coded = (
        dict(zip(dataset.ids, np.asarray(dataset.observations), strict=True)),
        ReportLabeler(NEWEST),
        np.asarray(dataset.coded),
    )
    for i in np.flatnonzero(~coded):
        rows[dataset.ids[i]] = _row(dataset.ids[i], list(labeler.observations(dataset.study(i).report)), OBSERVATIONS)
    return PseudoLabels(rows, who_says(coded, labeler))


def report_labels(dataset: PreparedDataset, section: Section = "reports") -> PseudoLabels:
    """What our labeler reads, uncertain counting as present, as the release makes its labels with CheXbert (XProNet Eq.
    3).

    It reads the report that the system learns to write (of IU X-Ray the FINDINGS), the IMPRESSION, or both one after
    the other. The IMPRESSION is known of the studies of IU X-Ray alone, drawn images or not. Where there is none
    nothing can be read in it, and the study counts as "No Finding".

    Raises:
        ConfigurationError: the IMPRESSION of a study of another collection.
        UnknownNameError: another section.
    """
    check_choice("section", section, Section)
    labeler = ReportLabeler()
    texts = {study: dataset.study(i).report for i, study in enumerate(dataset.ids)} if section != "impression" else {}
    concluded = _impressions(dataset.ids) if section != "reports" else {}
    texts = {
        study: " ".join(filter(None, (_closed(texts.get(study, "")), concluded.get(study, ""))))
        for study in dataset.ids
    }
    rows = {study: _row(study, list(labeler.observations(text)), OBSERVATIONS) for study, text in texts.items()}
    place = {"reports": "", "impression": " on the IMPRESSION", "both": " on report and IMPRESSION"}[section]
    return PseudoLabels(rows, f"the report labeler {labeler.version}{place}")


def _impressions(ids: Sequence[str]) -> dict[str, str]:
    impressions = iu_xray.impressions()
    if other := [study for study in ids if study not in impressions]:
        raise ConfigurationError(
            f"labels from the IMPRESSION: {other[0]!r} is no study of the Indiana University collection, whose "
            f"impressions alone are at hand; "
            "use label_source=reports, or a label file"
        )
    return {study: impressions[study] for study in ids}


def _closed(text: str) -> str:
    """The text with an end to its last sentence, so that what follows is another one."""
    text = text.rstrip()
    return text if not text or text[-1] in ".!?" else f"{text}."


def read_labels(path: Path | str, *, order: LabelOrder | None = None) -> PseudoLabels:
    """Labels from a file:

    - `.csv`: a column of ids (id, study, study_id or dicom_id) and one for each observation, by name, in any order;
      other columns are left alone.
    - `.json`: `{id: {observation: value}}`, or `{id: [14 values]}`.
    - `.pickle`, `.pkl`: the release's `{id: 14 numbers}`, read by an unpickler that knows nothing but dictionaries,
      texts, lists and float arrays.

    1 is present, 0, nothing or nan absent, -1 (uncertain) present as released. "No Finding" may be left out; it is set
    where nothing else is, as released, so that every study has a label. `order` is how lists and arrays number the
    observations (`LABEL_ORDERS`): by default "observations", and "iu_xray" for a pickle.

    Raises:
        AnnotationError: no such file, or one of another kind, with other columns, an id twice or a value that is none;
            names it.
        UnknownNameError: an order that does not exist.
    """
    path = Path(path).expanduser()
    if order is not None and order not in LABEL_ORDERS:
        raise UnknownNameError("order of labels", order, LABEL_ORDERS)
    readers = {".csv": _csv, ".json": _json, ".pickle": load_label_pickle, ".pkl": load_label_pickle}
    if path.suffix.lower() not in readers:
        raise AnnotationError(f"{path}: expected a label file ending in {', '.join(readers)}")
    try:
        entries = readers[path.suffix.lower()](path)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError, RecursionError) as error:
        raise AnnotationError(f"{path}: is not a readable label file ({error}). Get it again") from error
    names = LABEL_ORDERS[order or ("iu_xray" if path.suffix.lower() in (".pickle", ".pkl") else "observations")]
    if not entries:
        raise AnnotationError(f"{path}: has no study in it")
    return PseudoLabels(
        {study: _row(f"{path}: {study}", values, names) for study, values in entries.items()}, str(path)
    )


def observations_of_drawn(drawn: np.ndarray) -> np.ndarray:
    """(n, 13) drawn findings -> (n, 14) observations, as far as `DRAWN_OBSERVATIONS` goes; "No Finding" where none of
    those is."""
    drawn = np.asarray(drawn).astype(bool)
    observations = np.zeros((len(drawn), len(OBSERVATIONS)), np.uint8)
    for finding, observation in DRAWN_OBSERVATIONS.items():
        observations[:, OBSERVATIONS.index(observation)] |= drawn[:, DRAWN_FINDINGS.index(finding)]
    observations[:, _NO_FINDING] = ~observations.any(axis=1)
    return observations


def image_labels(model: FindingExtractor, views: Iterable[np.ndarray]) -> np.ndarray:
    """(n, 14) uint8 from images alone: batches of uint8 views (b, V, H, W), the findings above the model's thresholds.

    Raises `ConfigurationError` for a model of other findings.
    """
    return observations_of_drawn(image_findings(model, views))


def image_findings(model: FindingExtractor, views: Iterable[np.ndarray]) -> np.ndarray:
    """(n, 13) uint8, the drawn findings that `image_labels` is made of. Raises as it does."""
    if model.findings != DRAWN_FINDINGS:
        raise ConfigurationError(
            f"the classifier knows {', '.join(model.findings)}; the labels are made of {', '.join(DRAWN_FINDINGS)}"
        )
    seen = [(finding_logits(model, batch) >= model.thresholds).numpy() for batch in views]
    return np.concatenate(seen).astype(np.uint8) if seen else np.zeros((0, len(DRAWN_FINDINGS)), np.uint8)


def findings_seen(
    dataset: PreparedDataset, split: Split, *, batch_size: int = 256, progress: bool = True
) -> dict[str, tuple[int, ...]]:
    """By study id the 13 drawn findings that a classifier sees in the images of a split: what the baseline that looks
    is told, the same beside every system. The classifier is the small one of the profile `SEEN_BY`; its thresholds are
    chosen on the validation studies, and nothing of the reports or codes of the split is read. Trained first where it
    is not there."""
    model = FindingExtractor.load(finding_weights("small", dataset, SEEN_BY, progress=progress))
    indices = dataset.split_indices(split)
    parts = (indices[start : start + batch_size] for start in range(0, len(indices), batch_size))
    seen = image_findings(model, (dataset.views_array(part) for part in parts))
    return {dataset.ids[i]: tuple(row) for i, row in zip(indices, seen.tolist(), strict=True)}


@dataclass(eq=False)
class StudyLabels:
    """The labels of one run: `source` says what the memory trains with, one of `LABEL_SOURCES` or a label file;
    `classifier` loads what judges images."""

    dataset: PreparedDataset
    source: str
    classifier: Callable[[], FindingExtractor]

    @cached_property
    def pseudo_labels(self) -> PseudoLabels:
        return self._from(self.source)

    def _from(self, source: str) -> PseudoLabels:
        """Labels of one of `LABEL_SOURCES`, or of a file."""
        if source == "expert":
            return expert_labels(self.dataset)
        return report_labels(self.dataset, source) if source in LABEL_SOURCES else read_labels(source)

    @property
    def hash(self) -> str:
        return self.pseudo_labels.hash

    @cached_property
    def observations(self) -> np.ndarray:
        """(n, 14) of all studies of the dataset. Raises `AnnotationError` when the file lacks one."""
        return self.pseudo_labels.of(self.dataset.ids)

    def at_test(self, indices: Sequence[int], how: LabelsAtTest, *, batch_size: int = 256) -> np.ndarray | None:
        """(n, 14) that the memory is told of these studies when their reports are to be written; None, nothing, for
        "none"."""
        if how == "none":
            return None
        if how == "reference":
            return self.observations[indices]
        if how.startswith("reference_"):
            return self._from(how.removeprefix("reference_")).of([self.dataset.ids[i] for i in indices])
        parts = (indices[start : start + batch_size] for start in range(0, len(indices), batch_size))
        return image_labels(self._classifier, (self.dataset.views_array(part) for part in parts))

    @cached_property
    def _classifier(self) -> FindingExtractor:
        return self.classifier()


def _row(where: str, values: Any, names: Sequence[str]) -> np.ndarray:
    """(14,) of one entry: values by name, or in the order of `names`."""
    if isinstance(values, Mapping):
        if missing := [name for name in OBSERVATIONS[1:] if name not in values]:
            raise AnnotationError(
                f"{where}: has no {', '.join(missing)}; expected the observations {', '.join(OBSERVATIONS)}"
            )
        values, names = [values.get(name) for name in OBSERVATIONS], OBSERVATIONS
    if not isinstance(values, (list, np.ndarray)) or len(values) != len(names):
        size = f"{len(values)} values" if isinstance(values, (list, np.ndarray)) else f"a {type(values).__name__}"
        raise AnnotationError(f"{where}: has {size}; expected {len(names)}, one for each observation")
    given = {name: _value(f"{where}: {name}", value) for name, value in zip(names, values, strict=True)}
    row = np.array([given[name] for name in OBSERVATIONS], np.uint8)
    row[_NO_FINDING] |= not row.any()
    return row


def _value(where: str, value: Any) -> int:
    try:
        number = 0.0 if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        number = math.inf
    if math.isnan(number) or number == 0:
        return 0
    if number in (1, -1):
        return 1
    raise AnnotationError(f"{where} is {value!r}; expected 1 (present), 0 or nothing (absent), or -1 (uncertain)")


def _csv(path: Path) -> dict[str, Any]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = list(rows.fieldnames or ())
        key = next((name for name in columns if name.lower() in _IDS), None)
        missing = [*([] if key else ["id"]), *(name for name in OBSERVATIONS[1:] if name not in columns)]
        if missing:
            raise AnnotationError(
                f"{path}: expected the columns id and {', '.join(OBSERVATIONS)}; missing are {', '.join(missing)}"
            )
        entries: dict[str, Any] = {}
        for row in rows:
            study = of_cell(row[key])
            if study in entries:
                raise AnnotationError(
                    f"{path}: line {rows.line_num}: the id {study!r} is there twice. Remove one of the two"
                )
            entries[study] = row
    return entries


def _json(path: Path) -> dict[str, Any]:
    pairs = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=lambda pairs: _once(path, pairs))
    if not isinstance(pairs, dict):
        raise AnnotationError(f"{path}: holds a {type(pairs).__name__}; expected labels by study id")
    return pairs


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice = next(name for name in entries if sum(name == other for other, _ in pairs) > 1)
        raise AnnotationError(f"{path}: {twice!r} is there twice. Remove one of the two")
    return entries
