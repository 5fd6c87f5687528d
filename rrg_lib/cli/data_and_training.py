"""The commands that make things: prepared data, extractors, trained systems, reports, and what they cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from annotated_types import Ge

from rrg_lib.cli.options import (
    DataRoot,
    Decoding,
    Labels,
    Layout,
    Name,
    NameOrFolder,
    ProfileName,
    Quiet,
    RunOption,
    Seed,
    Settings,
    Views,
    app,
    given_folder,
    named_decoding,
    named_run,
    named_system,
)
from rrg_lib.data.shards import MAX_REJECTED, REJECTED
from rrg_lib.data.study import SPLITS
from rrg_lib.errors import ConfigurationError, UnknownNameError
from rrg_lib.experiments.presets import DATASETS
from rrg_lib.performance import APART, BENCHMARKS
from rrg_lib.runtime.settings import Count, check_setting
from rrg_lib.runtime.workspace import workspace


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help=f"Dataset: {', '.join(DATASETS)}.")],
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; by default build/prepared/…")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="How reports are cleaned: r2gen (as published), r2gen_mimic (default of mimic_cxr, chexpert_plus and "
            "rexgradient) or clinical."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawings.")] = 0,
    count: Annotated[
        int | None, typer.Option(help="Only so many studies, spread over the splits (phantom: how many to make).")
    ] = None,
    layout: Layout = None,
    views: Views = None,
    max_rejected: Annotated[
        float, typer.Option(help="Share of images that may be missing or unreadable before the run stops.")
    ] = MAX_REJECTED,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one per core.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="iu_xray: fetch images and reports from Open-i first, into --data-root.")
    ] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="With --download: accept the licence without being asked.")
    ] = False,
    mirror: Annotated[str | None, typer.Option(help="With --download: fetch from this address instead.")] = None,
    quiet: Quiet = False,
) -> None:
    """Draw or read all studies once, into a memory-mapped dataset. Run twice, it changes nothing; interrupted, it goes
    on."""
    from rrg_lib.experiments.run import prepared

    if download:
        data_root = _downloaded(source, data_root, accept_licence, mirror, quiet)
    options = {
        "protocol": protocol,
        "seed": seed,
        "count": count,
        "layout": layout,
        "views": views,
        "max_rejected": max_rejected,
    }
    dataset = prepared(source, data_root=data_root, out=out, workers=workers, progress=not quiet, **options)
    if words := dataset.manifest.get("split_source"):
        typer.echo(f"split: {words}")
    for reason, number in dataset.manifest.get("left_out", {}).items():
        typer.echo(f"{number:,} {'study' if number == 1 else 'studies'} left out: {reason}")
    for remark in dataset.manifest.get("remarks", ()):
        typer.echo(f"note: {remark}")
    if dataset.rejected:
        dropped = len({entry.study for entry in dataset.rejected if entry.dropped})
        typer.echo(
            f"{len(dataset.rejected)} images and with them {dropped} studies were set aside, see "
            f"{dataset.folder / REJECTED}"
        )
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
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of real images and reports, in any layout; without one, the machine itself is examined."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Which dataset it is; by default told from the folder.")] = None,
    layout: Layout = None,
    views: Views = None,
    sample: Annotated[
        int | None,
        typer.Option(help="How many images to open, spread over all: 500 unless said; 0 opens every one."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Where to write the page of pictures, a PNG; by default build/doctor/….png")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Say what is in a folder, or without one what this machine has and lacks (Python, packages, GPU, Java, memory,
    disk); what is wrong, and what to do. Exits with 0: whole, 1: usable, something is wrong, 2: not usable."""
    if path is None:
        if given := [
            f"--{name}" for name, value in locals().items() if name not in ("path", "quiet") and value is not None
        ]:
            raise ConfigurationError(
                f"{', '.join(given)}: of which folder? rrg doctor FOLDER examines one, rrg doctor alone this machine"
            )
        from rrg_lib.book.environment import examine_environment

        machine = examine_environment()
        typer.echo(machine)
        raise typer.Exit(machine.status)

    from rrg_lib.data.doctor import SAMPLE, examine, sheet_of

    if sample is not None:
        check_setting("--sample", sample, Annotated[int, Ge(0)], SAMPLE)
    if sheet and sheet.suffix.lower() != ".png":
        raise ConfigurationError(f"--sheet {sheet}: the page of pictures is a PNG; name it so, for example sheet.png")
    examination = examine(
        path,
        dataset=dataset,
        layout=layout,
        views=views,
        sample=SAMPLE if sample is None else sample or None,
        progress=not quiet,
    )
    typer.echo(examination)
    page = sheet or workspace() / "doctor" / f"{path.resolve().name}.png"
    typer.echo(f"pictures: {sheet_of(examination.looks, examination.source.collection.images, page)}")
    raise typer.Exit(examination.status)


@app.command()
def pretrain(
    dataset: Annotated[
        str, typer.Argument(help="Prepared dataset whose training studies it learns from.")
    ] = "iu_phantom",
    profile: ProfileName = "ci",
    data_root: DataRoot = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Fit a linear model of the pixels beside it, a minute or two: what needs no network."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train the small visual extractor on the findings of the training studies, once; it is kept."""
    from rrg_lib.data.finding_labels import findings_of_dataset
    from rrg_lib.experiments.extractors import extractor_scores, finding_weights
    from rrg_lib.experiments.run import prepared
    from rrg_lib.models.visual.finding_extractor import PRETRAINING

    if profile not in PRETRAINING:
        raise UnknownNameError("profile", profile, PRETRAINING)
    opened = prepared(dataset, data_root=data_root, progress=not quiet)
    path = finding_weights("small", opened, profile, progress=not quiet)
    shown = ", ".join(f"{split} {extractor_scores(path, opened, split)['micro']:.3f}" for split in ("val", "test"))
    labels = findings_of_dataset(opened, range(len(opened)))
    if labels.name:
        typer.echo(f"what a study has is said by {labels.source}")
    typer.echo(f"micro-F1 over the 13 drawn findings: {shown}\nin {path}")
    if probe:
        from rrg_lib.evaluation.linear_probe import linear_probe

        parts = {split: at for split in SPLITS if (at := opened.split_indices(split))}
        probed = linear_probe(
            {split: opened.views_array(at) for split, at in parts.items()},
            {split: labels.drawn[at] for split, at in parts.items()},
            progress=not quiet,
        )
        typer.echo(
            "a linear model of the pixels: "
            + ", ".join(f"{split} {probed[split]:.3f}" for split in ("val", "test") if split in probed)
        )


@app.command()
def train(
    name: Name,
    profile: ProfileName = "ci",
    seed: Seed = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    run: RunOption = None,
    quiet: Quiet = False,
) -> None:
    """Train a system. Interrupted, the same command goes on where it stopped; finished, it returns at once."""
    from rrg_lib.book.figures.transformer_baseline import training_curves

    new = named_run(name, profile, seed, settings, data_root, run, quiet, trained=False)
    for remark in new.remarks:
        typer.echo(f"note: {remark}")
    result = new.train(wait=False)
    training_curves(result.history, new.folder / "curves.png")
    best = result.history[result.best_epoch]
    shown = ", ".join(f"{key} {best[key]:.3f}" for key in ("validation_loss", "BLEU-4", "finding-F1") if key in best)
    typer.echo(
        f"{new.experiment.name}: best epoch {result.best_epoch + 1} of {len(result.history)} on the validation "
        f"studies ({shown})\nin {new.folder}"
    )


@app.command()
def tune(
    name: Name,
    profile: ProfileName = "ci",
    seed: Seed = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    run: RunOption = None,
    quiet: Quiet = False,
) -> None:
    """Choose how a trained system's reports are searched, on the validation studies, from a declared grid; kept beside
    the run with every score."""
    from rrg_lib.experiments.tuned_decoding import BAND, DECODING, TARGET
    from rrg_lib.experiments.tuning import tune as tune_decoding

    trained = named_run(name, profile, seed, settings, data_root, run, quiet)
    tuned = tune_decoding(trained, progress=not quiet)
    best, search = tuned.chosen, tuned.chosen.decoding
    penalty = f", length penalty {search.length_penalty} {search.alpha:g}" if search.length_penalty != "none" else ""
    blocked = f", no {search.block_ngrams}-gram twice" if search.block_ngrams else ""
    scores = ", ".join(f"{key} {value:.3f}" for key, value in best.scores.items() if key != "distinct")
    typer.echo(
        f"{trained.experiment.name}: of {len(tuned.trials)} ways the highest {' + '.join(TARGET)} with a length ratio "
        f"of {BAND[0]} to {BAND[1]} on the validation studies: beam {search.beam_size}, end mark "
        f"{search.end_bias:+g}{penalty}{blocked} ({scores})\n"
        f"{tuned.seconds / 60:.1f} min, hash {tuned.hash}, in {trained.folder / DECODING}"
    )


@app.command()
def generate(
    name: NameOrFolder,
    study: Annotated[str | None, typer.Option(help="Id of a study of the dataset, e.g. CXR2384_IM-0942.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="Image file; frontal first, then lateral. Repeat for the second view.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Write reports for a whole split instead.")] = None,
    profile: ProfileName = "ci",
    seed: Seed = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    run: RunOption = None,
    labels: Labels = None,
    decoding: Decoding = None,
    quiet: Quiet = False,
) -> None:
    """Write a report for image files, which needs the run folder alone; for one study of the dataset, or reports for a
    whole split."""
    if sum(bool(choice) for choice in (study, image, split)) != 1:
        raise ConfigurationError(
            "say what to write a report for: --study ID, or --image FILE (twice for two views), or --split test"
        )
    for path in image or ():
        _warn_of_no_film(path)
    folder = given_folder(name)
    if folder is not None:
        typer.echo(_report_of_folder(folder, image, seed, settings, run, labels, decoding))
    elif image:
        system = named_system(name, profile, seed, settings, run)
        typer.echo(system.report_of_images(image, decoding=named_decoding(system, labels, decoding)))
    else:
        trained = named_run(name, profile, seed, settings, data_root, run, quiet)
        search = named_decoding(trained, labels, decoding)
        if split:
            reports = trained.write(split, decoding=search)
            typer.echo(
                f"{len(reports)} reports, {len(set(reports.values()))} distinct, in "
                f"{trained.reports_file(split, search)}"
            )
        else:
            i = trained.dataset.index(study)
            report = trained.system.report_of_views(trained.dataset.views(i), decoding=search)
            typer.echo(f"generated: {report}\nreference: {trained.dataset.reference(i)}")


def _warn_of_no_film(image: Path) -> None:
    """A report is written for whatever picture is given; what the doctor would say of it is said first."""
    from rrg_lib.data.doctor import look_at

    if oddness := look_at(image.parent, image.name).oddness:
        typer.echo(f"warning: {image} does not look like a film of a chest: {oddness}", err=True)


def _report_of_folder(
    folder: Path,
    images: list[Path] | None,
    seed: int | None,
    settings: list[str] | None,
    run: Path | None,
    labels: str | None,
    protocol: str | None,
) -> str:
    """A report for images by the system of a run folder, wherever it was trained."""
    from rrg_lib.experiments.trained_system import TrainedSystem

    system = TrainedSystem.open(folder)
    if given := [option for option, value in (("--seed", seed), ("--set", settings), ("--run", run)) if value]:
        raise ConfigurationError(
            f"{', '.join(given)}: {folder} is a run folder and says itself what it is, {system.command}; leave it out"
        )
    if not images:
        raise ConfigurationError(
            f"--study and --split need the dataset {system.experiment.dataset}, which a run folder does not hold; "
            f"--image FILE needs none. Where the dataset is: rrg generate {system.command_here}"
        )
    return system.report_of_images(images, decoding=named_decoding(system, labels, protocol))


@app.command()
def bench(
    groups: Annotated[
        list[str] | None,
        typer.Argument(help=f"What to measure, by default all: {', '.join(BENCHMARKS)}; and {', '.join(APART)}."),
    ] = None,
    size: Annotated[str, typer.Option(help="paper: the published sizes; small: seconds, to try it.")] = "paper",
    repeats: Annotated[int, typer.Option(help="Rounds; every case runs once a round.")] = 5,
    threads: Annotated[int | None, typer.Option(help="Threads of this process; by default all cores.")] = None,
    memory: Annotated[
        bool, typer.Option(help="Measure peak memory too, each case in a process of its own (Linux).")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="Also write all times to this JSON file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure what training, writing and the memory cost beside each other and beside textbook forms, as ratios inside
    one run."""
    import torch

    from rrg_lib.performance.cases import find_group
    from rrg_lib.performance.harness import benchmark_markdown, measure, memory_in_a_process
    from rrg_lib.performance.sizes import find_size
    from rrg_lib.runtime.workspace import write_json

    check_setting("--repeats", repeats, Count, 5)
    if threads is not None:
        check_setting("--threads", threads, Count, 1)
    torch.set_num_threads(threads or torch.get_num_threads())
    chosen = [find_group(name, find_size(size)) for name in groups or BENCHMARKS]

    def peak(group: str, case: str) -> float | None:
        return memory_in_a_process(group, case, str(torch.get_num_threads()), size)

    def progress(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    results = []
    for group in chosen:
        in_process = memory and group.name not in APART  # of the others the work is done by other processes
        results.append(measure(group, repeats=repeats, peak=peak if in_process else None, progress=progress))
        if out:  # each time: who stops a long measurement keeps the groups that are done
            write_json(out, [result.to_json() for result in results])
    typer.echo(benchmark_markdown(results))
