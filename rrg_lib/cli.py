"""The command line of the book: `rrg --help` names every command."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rrg_lib.data.rejected import MAX_REJECTED, REJECTED
from rrg_lib.errors import ConfigurationError, ReportError, RRGError, UnknownNameError
from rrg_lib.presets import DATASETS, PRESETS, PROFILES
from rrg_lib.study import SPLITS
from rrg_lib.workspace import workspace

if TYPE_CHECKING:
    from rrg_lib.decoding import DecodingConfig
    from rrg_lib.runs import Run

app = typer.Typer(
    name="rrg",
    help="Rebuild, train and measure systems that write the findings of a chest X-ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Try: rrg train iu_phantom/cmn --profile ci, then: rrg evaluate iu_phantom/cmn --profile ci",
)

Name = Annotated[str, typer.Argument(metavar="DATASET/PRESET", help=f"What to run. Datasets: {', '.join(DATASETS)}. Presets: {', '.join(PRESETS)}.")]
ProfileName = Annotated[str, typer.Option("--profile", help=f"How big: {', '.join(PROFILES)}.")]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, order and dropout; by default the released one.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the real images, for iu_xray, mimic_cxr and own; or one that was prepared.")]
Layout = Annotated[str | None, typer.Option(help="Layout of the real images; by default told from the folder.")]
Views = Annotated[str | None, typer.Option(help="Which views of a study: as_released, frontal_first or frontal.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PART.FIELD=VALUE", help="Override a setting, e.g. training.epochs=3. Repeatable.")
]
RunFolder = Annotated[Path | None, typer.Option("--run", help="Run folder; by default one named after dataset, preset, profile and seed.")]
SplitName = Annotated[str, typer.Option("--split", help="train, val or test.")]
Labels = Annotated[
    str | None, typer.Option("--labels", help="What a memory gated by labels is told: classifier (the default), none, or reference (a leak).")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def _run(
    name: str,
    profile: str,
    seed: int | None,
    settings: list[str] | None,
    data_root: Path | None,
    folder: Path | None,
    quiet: bool,
    trained: bool = True,
):
    from rrg_lib.presets import experiment
    from rrg_lib.runs import Run

    return Run.of(experiment(name, profile, settings or (), seed), data_root=data_root, folder=folder, progress=not quiet, trained=trained)


def _decoding(made: Run, labels: str | None) -> DecodingConfig:
    """The experiment's way of decoding, with other labels at test time if asked for. Raises `ConfigurationError` for a memory that is told none."""
    if labels is None:
        return made.experiment.decoding
    if made.labels is None:
        raise ConfigurationError(f"--labels {labels}: the memory of {made.experiment.name} is not gated by labels; leave --labels out")
    return replace(made.experiment.decoding, labels_at_test=labels)


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help=f"Dataset: {', '.join(DATASETS)}.")],
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; by default build/prepared/…")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="How reports are cleaned: r2gen (as published), r2gen_mimic (default of mimic_cxr) or clinical.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawings.")] = 0,
    count: Annotated[int | None, typer.Option(help="Only so many studies, spread over the splits (phantom: how many to make).")] = None,
    layout: Layout = None,
    views: Views = None,
    max_rejected: Annotated[float, typer.Option(help="Share of images that may be missing or unreadable before the run stops.")] = MAX_REJECTED,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one per core.")] = None,
    download: Annotated[bool, typer.Option("--download", help="iu_xray: fetch images and reports from Open-i first, into --data-root.")] = False,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="With --download: accept the licence without being asked.")] = False,
    mirror: Annotated[str | None, typer.Option(help="With --download: fetch from this address instead.")] = None,
    quiet: Quiet = False,
) -> None:
    """Draw or read all studies once, into a memory-mapped dataset. Run twice, it changes nothing; interrupted, it goes on."""
    from rrg_lib.runs import prepared

    if download:
        data_root = _downloaded(source, data_root, accept_licence, mirror, quiet)
    options = {"protocol": protocol, "seed": seed, "count": count, "layout": layout, "views": views, "max_rejected": max_rejected}
    dataset = prepared(source, data_root=data_root, out=out, workers=workers, progress=not quiet, **options)
    for reason, number in dataset.manifest.get("left_out", {}).items():
        typer.echo(f"{number} studies left out: {reason}")
    if dataset.rejected:
        dropped = len({entry.study for entry in dataset.rejected if entry.dropped})
        typer.echo(f"{len(dataset.rejected)} images and with them {dropped} studies were set aside, see {dataset.folder / REJECTED}")
    typer.echo(f"{dataset}\nin {dataset.folder}")


def _downloaded(source: str, data_root: Path | None, accepted: bool, mirror: str | None, quiet: bool) -> Path:
    """The folder that the collection was fetched to; the licence is shown first."""
    from rrg_lib.data.openi_download import ADDRESS, download_openi

    if source != "iu_xray":
        raise ConfigurationError(f"--download fetches iu_xray alone, not {source}")

    def accept(licence: str) -> bool:
        typer.echo(licence)
        return accepted or (sys.stdin.isatty() and typer.confirm("Do you accept this licence?"))

    root = (data_root or workspace() / "downloads" / "iu_xray").expanduser()
    return download_openi(root, accept, address=mirror or ADDRESS, progress=not quiet)


@app.command()
def doctor(
    path: Annotated[Path, typer.Argument(help="Folder of real images and reports, in any layout.")],
    dataset: Annotated[str | None, typer.Option(help="What it is: iu_xray, mimic_cxr or own; by default told from the folder.")] = None,
    layout: Layout = None,
    views: Views = None,
    sample: Annotated[int, typer.Option(help="How many images to open, spread over all; 0 opens every one.")] = 500,
    sheet: Annotated[Path | None, typer.Option(help="Where to write the page of pictures; by default build/doctor/….png")] = None,
    quiet: Quiet = False,
) -> None:
    """Say what is in a folder, what is wrong with it and what to do. Exits with 0: whole, 1: usable, something is wrong, 2: not usable."""
    from rrg_lib.data.doctor import examine
    from rrg_lib.data.film_check import sheet_of

    found = examine(path, dataset=dataset, layout=layout, views=views, sample=sample or None, progress=not quiet)
    typer.echo(found)
    page = sheet or workspace() / "doctor" / f"{path.resolve().name}.png"
    typer.echo(f"pictures: {sheet_of(found.looks, found.source.collection.images, page)}")
    raise typer.Exit(found.status)


@app.command()
def pretrain(
    dataset: Annotated[str, typer.Argument(help="Prepared dataset whose training studies it learns from.")] = "iu_phantom",
    profile: ProfileName = "ci",
    data_root: DataRoot = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Fit a linear model of the pixels beside it, a minute or two: what needs no network.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train the small visual extractor on the findings of the training studies, once; it is kept."""
    from rrg_lib.pretraining import PRETRAINING
    from rrg_lib.runs import extractor_scores, finding_weights, prepared

    if profile not in PRETRAINING:
        raise UnknownNameError("profile", profile, PRETRAINING)
    opened = prepared(dataset, data_root=data_root, progress=not quiet)
    path = finding_weights("small", opened, profile, progress=not quiet)
    shown = ", ".join(f"{split} {extractor_scores(path, opened, split)['micro']:.3f}" for split in ("val", "test"))
    typer.echo(f"micro-F1 over the 13 drawn findings: {shown}\nin {path}")
    if probe:
        from rrg_lib.linear_probe import linear_probe

        parts = {split: opened.split_indices(split) for split in SPLITS}
        probed = linear_probe(
            {split: opened.views_array(at) for split, at in parts.items()},
            {split: opened.labels[at] for split, at in parts.items()},
            progress=not quiet,
        )
        typer.echo(f"a linear model of the pixels: val {probed['val']:.3f}, test {probed['test']:.3f}")


@app.command()
def train(
    name: Name,
    profile: ProfileName = "ci",
    seed: Seed = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    run: RunFolder = None,
    quiet: Quiet = False,
) -> None:
    """Train a system. Interrupted, the same command goes on where it stopped; finished, it returns at once."""
    made = _run(name, profile, seed, settings, data_root, run, quiet, trained=False)
    result = made.train()
    best = result.history[result.best_epoch]
    shown = ", ".join(f"{key} {best[key]:.3f}" for key in ("validation_loss", "BLEU-4", "finding-F1") if key in best)
    typer.echo(
        f"{made.experiment.name}: best epoch {result.best_epoch + 1} of {len(result.history)} on the validation studies ({shown})\nin {made.folder}"
    )


@app.command()
def generate(
    name: Name,
    study: Annotated[str | None, typer.Option(help="Id of a study of the dataset, e.g. CXR2384_IM-0942.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Image file; frontal first, then lateral. Repeat for the second view.")] = None,
    split: Annotated[str | None, typer.Option(help="Write reports for a whole split instead.")] = None,
    profile: ProfileName = "ci",
    seed: Seed = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    run: RunFolder = None,
    labels: Labels = None,
    quiet: Quiet = False,
) -> None:
    """Write a report for one study, for image files, or reports for a whole split."""
    if sum(bool(choice) for choice in (study, image, split)) != 1:
        raise ConfigurationError("say what to write a report for: --study ID, or --image FILE (twice for two views), or --split test")
    made = _run(name, profile, seed, settings, data_root, run, quiet)
    decoding = _decoding(made, labels)
    if split:
        reports = made.write(split, decoding=decoding)
        typer.echo(f"{len(reports)} reports, {len(set(reports.values()))} distinct, in {made.folder / f'reports-{made.named(split, decoding)}.csv'}")
    elif image:
        typer.echo(made.report_of_images(image, decoding=decoding))
    else:
        i = made.dataset.index(study)
        typer.echo(f"generated: {made.report_of_views(made.dataset.views(i), decoding=decoding)}\nreference: {made.dataset.reference(i)}")


@app.command()
def evaluate(
    name: Name,
    reports: Annotated[Path | None, typer.Option(help="A CSV with the columns id and report to score instead of the run's own.")] = None,
    split: SplitName = "test",
    meteor: Annotated[bool, typer.Option(help="METEOR needs Java and about 20 seconds to start.")] = True,
    baselines: Annotated[bool, typer.Option(help="Print all trivial baselines beside the system; a minute or two the first time.")] = True,
    profile: ProfileName = "ci",
    seed: Seed = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    run: RunFolder = None,
    labels: Labels = None,
    quiet: Quiet = False,
) -> None:
    """Score a system beside the trivial baselines, with intervals, normal and abnormal studies apart."""
    from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
    from rrg_lib.reports import load_reports

    made = _run(name, profile, seed, settings, data_root, run, quiet)
    decoding = _decoding(made, labels)
    given = load_reports(reports) if reports else None
    wanted = METRICS if meteor else WITHOUT_JAVA
    evaluation = made.evaluate(split, metrics=wanted, baselines="all" if baselines else False, reports=given, decoding=decoding)
    typer.echo(evaluation.markdown())
    if given is None:
        typer.echo(f"kept in {made.folder / f'scores-{made.named(split, decoding)}.json'}")


@app.command()
def label(
    reports: Annotated[Path, typer.Argument(help="A CSV with the columns id and report.")],
    out: Annotated[Path, typer.Option(help="Where to write the labels: a CSV of id and the 14 observations.")],
) -> None:
    """Read the 14 observations from reports: 1 positive, 0 negative, -1 uncertain, nothing where not mentioned."""
    from rrg_lib.evaluation.nlg import one_report_each
    from rrg_lib.reports import load_reports
    from rrg_lib.text.report_labeler import ReportLabeler, save_observations

    labeler = ReportLabeler()
    given = one_report_each(load_reports(reports), "report")
    save_observations(out, {study: labeler.observations(report) for study, report in given.items()})
    typer.echo(f"{len(given)} reports, labeler {labeler.version} {labeler.hash}, in {out}")


@app.command()
def efficacy(
    reports: Annotated[Path, typer.Argument(help="A CSV with the columns id and report, of exactly the studies of the split.")],
    split: SplitName = "test",
    against: Annotated[str, typer.Option(help="codes: the experts' codes. report: the labels of the reference reports, as in the papers.")] = "codes",
    out: Annotated[Path | None, typer.Option(help="Also write the numbers to this JSON file.")] = None,
) -> None:
    """Clinical efficacy of reports on a split of IU X-Ray: precision, recall and F1 over each label set, and agreement on side and severity."""
    from rrg_lib.evaluation.efficacy import clinical_efficacy
    from rrg_lib.reports import load_reports
    from rrg_lib.workspace import write_json

    found = clinical_efficacy(load_reports(reports), _studies(split), against=against)
    typer.echo(found.markdown())
    if out:
        write_json(out, found.to_json())


@app.command()
def audit(
    split: SplitName = "test",
    out: Annotated[Path | None, typer.Option(help="Also write the numbers to this JSON file.")] = None,
) -> None:
    """How far to trust the labeler: its answers on the references themselves, against the experts' codes, and the ceiling."""
    from rrg_lib.evaluation.labeler_audit import audit as audited
    from rrg_lib.workspace import write_json

    found = audited(_studies(split))
    typer.echo(found.markdown())
    if out:
        write_json(out, found.to_json())


def _studies(split: str):
    from rrg_lib.data.iu_xray import studies

    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    return studies(split)


@app.command()
def baselines(
    dataset: Annotated[str, typer.Argument(help=f"Dataset: {', '.join(DATASETS)}.")] = "iu_phantom",
    split: SplitName = "test",
    only: Annotated[list[str] | None, typer.Option(help="Only this baseline. Repeatable.")] = None,
    meteor: Annotated[bool, typer.Option(help="METEOR needs Java and about 20 seconds to start.")] = True,
    data_root: DataRoot = None,
    quiet: Quiet = False,
) -> None:
    """Score reports that were written without looking at an image: every trivial baseline, with intervals, and the minutes it takes."""
    from rrg_lib.evaluation.baseline_table import evaluate_baselines
    from rrg_lib.evaluation.baselines import Task
    from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
    from rrg_lib.runs import prepared

    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    opened = prepared(dataset, data_root=data_root, progress=not quiet)
    studies = {name: [opened.study(i) for i in opened.split_indices(name)] for name in SPLITS}
    task = Task(studies["train"], studies["val"], studies[split], opened.vocabulary)
    typer.echo(evaluate_baselines(task, names=only or "all", metrics=METRICS if meteor else WITHOUT_JAVA).markdown())


@app.command()
def compare(
    name: Name,
    other: Annotated[str, typer.Argument(metavar="DATASET/PRESET", help="The system to compare with, on the same dataset.")],
    profile: ProfileName = "ci",
    seed: Annotated[list[int] | None, typer.Option(help="Repeat for several; by default the released one.")] = None,
    split: SplitName = "test",
    meteor: Annotated[bool, typer.Option(help="METEOR needs Java and about 20 seconds to start.")] = False,
    data_root: DataRoot = None,
    quiet: Quiet = False,
) -> None:
    """Test whether two trained systems differ on the same studies: paired randomisation, all seeds together. Reads the reports that `evaluate` wrote."""
    from rrg_lib.evaluation.comparison import compare_reports, comparison_markdown
    from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
    from rrg_lib.presets import experiment
    from rrg_lib.reports import load_reports
    from rrg_lib.runs import prepared, run_folder

    what = {each: [experiment(each, profile, seed=s) for s in seed or [None]] for each in (name, other)}
    (dataset, *others) = {experiments[0].dataset for experiments in what.values()}
    if others:
        raise ConfigurationError(f"{name} and {other} are of two datasets: what is scored on other studies cannot be compared")
    for missing in (e for experiments in what.values() for e in experiments if not (run_folder(e) / f"reports-{split}.csv").is_file()):
        seeded = f"{missing.name} --profile {profile} --seed {missing.training.seed}"
        raise ReportError(
            f"{run_folder(missing)} has no reports of {split} yet; run: rrg train {seeded}, then: rrg evaluate {seeded} --split {split}"
        )
    reports = {each: [load_reports(run_folder(e) / f"reports-{split}.csv") for e in experiments] for each, experiments in what.items()}
    opened = prepared(dataset, data_root=data_root, progress=not quiet)
    studies = [opened.study(i) for i in opened.split_indices(split)]
    wanted = METRICS if meteor else WITHOUT_JAVA
    typer.echo(comparison_markdown((name, other), compare_reports(reports[name], reports[other], studies, opened.vocabulary, metrics=wanted)))


@app.command()
def ledger(
    out: Annotated[Path | None, typer.Option(help="Folder for ledger.csv and ledger.md; by default build/ledger.")] = None,
    counts_only: Annotated[bool, typer.Option("--counts", help="Print the verdicts' counts alone.")] = False,
) -> None:
    """Hold every printed value and every claim of the papers against what was measured, with a verdict each."""
    from rrg_lib.evaluation.ledger import ledger as made
    from rrg_lib.evaluation.ledger_files import counts_markdown, ledger_markdown, write_ledger
    from rrg_lib.results import stored
    from rrg_lib.workspace import workspace

    rows = made(stored())
    paths = write_ledger(rows, out or workspace() / "ledger")
    typer.echo("\n".join(counts_markdown(rows)) if counts_only else ledger_markdown(rows))
    typer.echo(f"in {paths[0]} and {paths[1].name}")


def main() -> None:
    """Run the command line; a user's mistake prints its message alone and exits with 2."""
    try:
        app(standalone_mode=True)
    except RRGError as error:
        typer.secho(f"rrg: {error}", fg="red", err=True)
        sys.exit(2)
