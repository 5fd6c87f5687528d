"""What is in a folder of radiographs and reports, what is wrong with it, and what to do: before hours are spent on
preparing it. Whether a file can be read, whether what it shows can be a film of a chest, and a page of many films to
look at."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from rrg_lib.data import iu_xray
from rrg_lib.data.dicom import is_dicom
from rrg_lib.data.images import SIZE, StoredImage, encoded, open_radiograph, read_radiograph
from rrg_lib.data.layouts.collection import ImageFolder, ViewRule
from rrg_lib.data.layouts.registry import find_layout
from rrg_lib.data.prepare import go_on_without
from rrg_lib.data.remarks import Remark, counted, remarks_on_reports
from rrg_lib.data.shards import MAX_REJECTED
from rrg_lib.data.sources import PROTOCOL_OF, VIEWS, RealImages, find_source, views_option
from rrg_lib.data.study import SPLITS, Study
from rrg_lib.data.text.rule_labeler import NEWEST
from rrg_lib.data.text.vocabulary import Protocol, Vocabulary, protocol
from rrg_lib.errors import ConfigurationError, ImageError, ReportError
from rrg_lib.runtime.package_data import table
from rrg_lib.runtime.workspace import written_whole

#: How many images are opened unless more are asked for: a minute or two.
SAMPLE = 500
_BLOCK = 4096
#: What no film of a chest is: longer than twice its width, smaller than this, nearly of one gray (standard deviation),
#: in colour (channels apart).
MAX_RATIO, MIN_SIDE, MIN_CONTRAST, MAX_COLOUR = 2.0, 128, 8.0, 12.0
#: The upper corners of an upright film show air beside the neck, its lower part the abdomen. Corners of at least this
#: gray, and this much brighter than the film, are of a negative; a film whose upper part and corners are by this factor
#: brighter than its lower ones lies upside down. Of 1,200 drawn and 7 real films neither was said of one, and said of
#: four in five of their negatives and two in three of the frontal ones turned over: a note, not a verdict.
NEGATIVE, TURNED_OVER = (160, 40), 1.4
#: Rows and columns of a corner, of `SIZE`.
_CORNER = 48, 40
TILE, CAPTION, COLUMNS = 160, 28, 8


@dataclass(frozen=True)
class Look:
    """`fault` says why the file can't be read, `oddness` why it may be no chest film; "" for neither."""

    fault: str = ""
    oddness: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong: how many, of what ("image is missing|images are missing"), the first few of them, and
    what to do. `stops` when `prepare` would not go on."""

    count: int
    subject: str
    examples: tuple[str, ...]
    advice: str
    stops: bool = False

    def __str__(self) -> str:
        shown = (
            f": {'; '.join(self.examples)}{'; …' if self.count > len(self.examples) else ''}" if self.examples else ""
        )
        return f"{counted(self.count, self.subject)}{shown}\n    {self.advice}"


@dataclass
class Diagnosis:
    """What `examine` found. `status` is for scripts: 0 as published or whole, 1 usable but something is wrong, 2
    `prepare` would stop."""

    source: RealImages
    looks: dict[str, Look]
    facts: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)

    @property
    def status(self) -> int:
        return 2 if any(complaint.stops for complaint in self.complaints) else int(bool(self.complaints))

    def __str__(self) -> str:
        lines = [
            f"{self.source.root}: {self.source.name} in the layout {self.source.layout}",
            *(f"  {fact}" for fact in self.facts),
        ]
        lines += ["", *(f"- {complaint}" for complaint in self.complaints)] if self.complaints else []
        command = f"rrg prepare {self.source.name} --data-root {self.source.root}{_options(self.source)}"
        words = ("nothing to complain of", "usable as it is, see above", "not usable as it is, see above")[self.status]
        return "\n".join([*lines, "", f"{words}. {'Then run' if self.status else 'Run'}: {command}"])


def examine(
    root: Path | str,
    *,
    dataset: str | None = None,
    layout: str | None = None,
    views: ViewRule | None = None,
    sample: int | None = SAMPLE,
    workers: int = 4,
    progress: bool = True,
) -> Diagnosis:
    """Looks through a folder. Every image is looked for; `sample` of them (None: all), spread evenly, are opened.
    Nothing in the folder is changed.

    Raises what `find_source` and the readers raise when there is no layout or a table can't be read: what is so wrong
    has a message of its own.
    """
    root = Path(root).expanduser()
    source = find_source(dataset or _dataset(root, layout), data_root=root, layout=layout, views=views)
    studies = source.studies()
    images = [(study.id, path) for study in studies for path in study.views]
    missing = {path for _, path in images if not (source.collection.images / path).is_file()}
    there = [(study_id, path) for study_id, path in images if path not in missing]
    if sample is not None and sample < len(there):
        there = [there[(2 * i + 1) * len(there) // (2 * sample)] for i in range(sample)]
    with ThreadPoolExecutor(workers) as pool:
        blocks = (
            there[start : start + _BLOCK] for start in range(0, len(there), _BLOCK)
        )  # a pool takes all at once that it is given
        results = (
            look
            for block in blocks
            for look in pool.map(lambda entry: look_at(source.collection.images, entry[1]), block)
        )
        looks = {
            path: look
            for (_, path), look in zip(
                there, tqdm(results, total=len(there), desc="looking", disable=not progress), strict=True
            )
        }
    diagnosis = Diagnosis(source, looks)
    diagnosis.facts = _facts(source, studies, images, looks)
    needed = sum(min(len(study.views), VIEWS) for study in studies)
    diagnosis.complaints = [
        *_missing(source, sorted(missing), needed),
        *_films(looks, dict((path, study_id) for study_id, path in images)),
        *_reports(source, studies),
        *_published(source, studies),
    ]
    return diagnosis


def _options(source: RealImages) -> str:
    """What `rrg prepare` must be told to read the folder as `source` does, beyond its name: a layout that it would not
    find by itself, and other views than usual."""
    try:
        found = find_layout(source.root, source.name)[0].name == source.layout
    except ConfigurationError:  # the marks of several
        found = False
    return ("" if found else f" --layout {source.layout}") + views_option(source.name, source.rule)


def _dataset(root: Path, layout: str | None) -> str:
    """The dataset whose layout the folder has; of R2Gen's, which has two, by the ids."""
    reader, place = find_layout(root, None, layout)
    if len(reader.datasets) == 1:
        return reader.datasets[0]
    studies = reader.read(place, "as_released").studies
    return "iu_xray" if any(iu_xray.image_key(f"{study.id}-1") for study in studies) else "mimic_cxr"


def _facts(
    source: RealImages, studies: Sequence[Study], images: Sequence[tuple[str, str]], looks: dict[str, Look]
) -> list[str]:
    splits, positions = Counter(study.split for study in studies), source.collection.positions
    views = Counter(len(study.views) for study in studies)
    first = Counter(positions.get(study.views[0], "unknown") for study in studies if study.views)
    facts = [
        f"{counted(len(studies), 'study|studies')}: " + ", ".join(f"{splits[split]:,} {split}" for split in SPLITS),
        f"{counted(len(images), 'image|images')}; studies by their number: "
        + ", ".join(f"{n} {'have' if n > 1 else 'has'} {many}" for many, n in sorted(views.items())),
        f"views {source.rule}; the first one is "
        + ", ".join(f"{name} in {first[name]:,}" for name in ("frontal", "lateral", "unknown") if first[name]),
        f"{counted(len(looks), 'image|images')} opened",
    ]
    if not all(study.is_coded for study in studies):
        coded = sum(study.is_coded for study in studies)
        facts.append(f"expert codes in {coded:,} studies; what the others have is read in their reports ({NEWEST})")
    if source.split_source():
        facts.append(f"split: {source.split_source()}")
    if boxes := source.collection.boxes:
        many = sum(len(of) for of in boxes.values())
        facts.append(f"{counted(many, 'box|boxes')} of findings on {counted(len(boxes), 'image|images')}")
    return facts + [
        f"{counted(n, 'study|studies')} left out: {reason}" for reason, n in sorted(source.collection.left_out.items())
    ]


def _missing(source: RealImages, missing: list[str], needed: int) -> list[Complaint]:
    if not missing:
        return []
    asked = len(source.missing())
    stops = asked > MAX_REJECTED * needed
    advice = f"Put them into {source.collection.images}." + (
        go_on_without(asked, needed).replace(", or", " Or", 1) if stops else " prepare sets them aside."
    )
    return [Complaint(len(missing), "image is missing|images are missing", tuple(missing[:3]), advice, stops)]


def _films(looks: dict[str, Look], owner: dict[str, str]) -> list[Complaint]:
    complaints = []
    if unreadable := {path: look.fault for path, look in looks.items() if look.fault}:
        examples = tuple(list(unreadable.values())[:3])
        stops = len(unreadable) > MAX_REJECTED * len(looks)
        advice = (
            "Get these files again; prepare sets them aside."
            if not stops
            else "Get these files again: they are too many to set aside."
        )
        complaints.append(
            Complaint(len(unreadable), "image can't be read|images can't be read", examples, advice, stops)
        )
    if odd := {path: look.oddness for path, look in looks.items() if look.oddness}:
        examples = tuple(f"{path} ({why})" for path, why in list(odd.items())[:3])
        complaints.append(
            Complaint(
                len(odd),
                "image does not look like a film of a chest|images do not look like films of a chest",
                examples,
                "Look at them, and take them out if they are none.",
            )
        )
    alike = defaultdict(list)
    for path, look in looks.items():
        if look.digest:
            alike[look.digest].append(path)
    if twice := [paths for paths in alike.values() if len(paths) > 1]:
        examples = tuple(" = ".join(f"{path} of {owner[path]}" for path in paths[:2]) for paths in twice[:3])
        subject = "image is there more than once, pixel for pixel|images are there more than once, pixel for pixel"
        complaints.append(Complaint(len(twice), subject, examples, "One of each is in the wrong place, or needless."))
    return complaints


def _reports(source: RealImages, studies: Sequence[Study]) -> list[Complaint]:
    rules, empty = protocol(PROTOCOL_OF.get(source.name, "r2gen")), []
    for study in studies:
        try:
            rules.clean_checked(study.report, study.id)
        except ReportError:
            empty.append(study.id)
    known = [(study, one) for study in studies if (one := iu_xray.known(study.id))]
    reworded, moved = (
        [study.id for study, one in known if getattr(study, part) != getattr(one, part)] for part in ("report", "split")
    )
    incomparable = "Scores on them can't be compared with published ones."
    complaints = []
    if empty:
        complaints.append(
            Complaint(
                len(empty),
                "report is empty|reports are empty",
                tuple(empty[:3]),
                "Give them a report, or take the studies out.",
                stops=True,
            )
        )
    if reworded:
        complaints.append(
            Complaint(
                len(reworded),
                "report is not that of the collection|reports are not those of the collection",
                tuple(reworded[:3]),
                incomparable,
            )
        )
    if moved:
        complaints.append(
            Complaint(
                len(moved),
                "study is in another split than published|studies are in another split than published",
                tuple(moved[:3]),
                incomparable,
            )
        )
    complaints += [
        Complaint(remark.count, remark.subject, (), remark.advice)
        for remark in (*source.remarks(), *(_own_remarks(studies, rules) if source.name == "own" else ()))
    ]
    splits = Counter(study.split for study in studies)
    for split, purpose, without in (
        ("val", "validation", "Training stops without them"),
        ("test", "testing", "There is nothing to measure a system on"),
    ):
        if splits["train"] and not splits[split]:
            advice = f"{without}. Give some the split {split!r}."
            complaints.append(
                Complaint(len(studies), f"study, and none for {purpose}|studies, and none for {purpose}", (), advice)
            )
    if studies and not source.vocabulary_reports():
        complaints.append(
            Complaint(
                len(studies),
                "study, and none for training|studies, and none for training",
                (),
                "Put some into the split 'train'.",
                stops=True,
            )
        )
    return complaints


def _own_remarks(studies: Sequence[Study], rules: Protocol) -> list[Remark]:
    reports = [study.report for study in studies if study.split == "train"]
    return remarks_on_reports(reports, Vocabulary.build(reports, rules)) if reports else []


def _published(source: RealImages, studies: Sequence[Study]) -> list[Complaint]:
    """Differences from the published number of studies; MIMIC-CXR's is printed rounded to hundreds."""
    has = Counter(study.split for study in studies)
    if source.name == "iu_xray":
        printed, slack = Counter(row["split"] for row in table("iu_xray_split")), 0
    elif source.name == "mimic_cxr":
        rows = [
            row
            for row in table("published")
            if (row["where"], row["dataset"], row["metric"]) == ("Table 1", source.name, "reports")
        ]
        printed, slack = {row["system"]: int(float(row["value"])) for row in rows}, 50
        has.update({split: 0 for split in SPLITS})
        if source.layout != "mimic_cxr_jpg":
            return []  # an image a study there: counted otherwise
        lacking = sum(source.collection.left_out.values())
        if abs(sum(has.values()) + lacking - sum(printed.values())) <= 3 * slack:
            return []  # all there; what was left out is told above
    else:
        return []
    other = ", ".join(
        f"{split} {has[split]:,} instead of {printed[split]:,}"
        for split in SPLITS
        if abs(has[split] - printed[split]) > slack
    )
    short = abs(sum(has.values()) - sum(printed.values()))
    return (
        [
            Complaint(
                short,
                f"study more or fewer than published: {other}|studies more or fewer than published: {other}",
                (),
                "Scores on it are not those of the published split.",
            )
        ]
        if other
        else []
    )


# --- films ------------------------------------------------------------------------------------------------------------


def look_at(images: ImageFolder, path: str) -> Look:
    """Opens one image. Never raises for a file of whatever content."""
    try:
        film = open_radiograph(images / path)
    except ImageError as error:
        return Look(fault=str(error).replace(f"{images}/", ""))
    square = np.asarray(film.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return Look(
        "",
        _oddness(images / path, film, square),
        hashlib.sha256(square.tobytes() + repr(film.size).encode()).hexdigest(),
    )


def _oddness(path: Path | StoredImage, film: Image.Image, square: np.ndarray) -> str:
    width, height = film.size
    if max(width, height) > MAX_RATIO * min(width, height):
        return f"{width} x {height}: longer than twice its width"
    if min(width, height) < MIN_SIDE:
        return f"{width} x {height}: small"
    if square.std() < MIN_CONTRAST:
        return "nearly of one gray"
    if (colour := _colour(path)) > MAX_COLOUR:
        return f"in colour (channels {colour:.0f} apart)"
    return _turned(square)


def _turned(square: np.ndarray) -> str:
    """What speaks for a film (SIZE, SIZE) that is a negative or upside down; "" where nothing does."""
    rows, columns = _CORNER
    film = square.astype(np.float64)
    above, below = film[:rows], film[-rows:]
    corners_above, corners_below = (float(np.mean([part[:, :columns], part[:, -columns:]])) for part in (above, below))
    if corners_above > max(NEGATIVE[0], film.mean() + NEGATIVE[1]):
        return "bright beside the neck, perhaps a negative (black and white exchanged)"
    if above.mean() > TURNED_OVER * below.mean() and corners_above > TURNED_OVER * corners_below:
        return "brighter above than below, perhaps upside down"
    return ""


def _colour(path: Path | StoredImage) -> float:
    """How far the channels are apart, of 255, on average."""
    if isinstance(path, Path) and is_dicom(path):
        return 0.0
    with Image.open(encoded(path)) as image:
        if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
            return 0.0
        image.draft("RGB", (128, 128))
        channels = np.asarray(image.convert("RGB").resize((64, 64)), np.int16)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean())


def contact_sheet(looks: Sequence[tuple[str, Look]], images: ImageFolder, path: Path) -> Path:
    """A PNG of films below `images` with their names, `COLUMNS` a row; what can't be read or is odd is framed in red,
    with the reason on it."""
    rows = max(1, -(-len(looks) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for i, (name, look) in enumerate(looks):
        x, y = i % COLUMNS * TILE, i // COLUMNS * (TILE + CAPTION)
        if not look.fault:
            sheet.paste(Image.fromarray(read_radiograph(images / name, TILE - 6)), (x + 3, y + 3))
        if why := look.fault or look.oddness:
            draw.rectangle((x + 1, y + 1, x + TILE - 2, y + TILE - 2), outline="red", width=3)
            for line, start in enumerate(range(0, min(len(why), 150), 25)):
                draw.text((x + 6, y + 6 + 12 * line), why[start : start + 25], "red", font)
        for line, start in enumerate(range(0, min(len(name), 52), 26)):
            draw.text((x + 3, y + TILE + 12 * line), name[start : start + 26], "black", font)
    with written_whole(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path


def sheet_of(looks: dict[str, Look], images: ImageFolder, path: Path, most: int = 48) -> Path:
    """`contact_sheet` of the images that something is wrong with and, evenly spread, of the others: `most` in all."""
    wrong = [(name, look) for name, look in looks.items() if look.fault or look.oddness][: most // 2]
    fine = [(name, look) for name, look in looks.items() if not (look.fault or look.oddness)]
    room = min(most - len(wrong), len(fine))
    return contact_sheet([*wrong, *(fine[(2 * i + 1) * len(fine) // (2 * room)] for i in range(room))], images, path)
