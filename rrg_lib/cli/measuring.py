"""The commands that measure: trained systems, baselines, reports of anybody's, the labeler itself, and the papers'
claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rrg_lib.cli.options import (
    DataRoot,
    Decoding,
    Labels,
    Name,
    ProfileName,
    Quiet,
    RunOption,
    Seed,
    Settings,
    SplitName,
    app,
    named_decoding,
    named_run,
)
from rrg_lib.data.study import SPLITS
from rrg_lib.errors import ConfigurationError, ReportError, UnknownNameError
from rrg_lib.experiments.presets import DATASETS
from rrg_lib.models.decoding import PROTOCOLS, STORED_PROTOCOLS
from rrg_lib.runtime.workspace import workspace


@app.command()
def evaluate(
    name: Name,
    reports: Annotated[
        Path | None, typer.Option(help="A CSV with the columns id and report to score instead of the run's own.")
    ] = None,
    split: SplitName = "test",
    meteor: Annotated[bool, typer.Option(help="METEOR needs Java and about 20 seconds to start.")] = True,
    baselines: Annotated[
        bool,
        typer.Option(
            help="Print all trivial baselines beside the system; written and scored once, a minute or two, then found "
            "again."
        ),
    ] = True,
    profile: ProfileName = "ci",
    seed: Seed = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    run: RunOption = None,
    labels: Labels = None,
    decoding: Decoding = None,
    quiet: Quiet = False,
) -> None:
    """Score a system beside the trivial baselines, with intervals, normal and abnormal studies apart."""
    from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
    from rrg_lib.experiments.reports import load_reports

    trained = named_run(name, profile, seed, settings, data_root, run, quiet)
    search = named_decoding(trained, labels, decoding)
    given = load_reports(reports) if reports else None
    metrics = METRICS if meteor else WITHOUT_JAVA
    evaluation = trained.evaluate(
        split, metrics=metrics, baselines="all" if baselines else False, reports=given, decoding=search
    )
    typer.echo(evaluation.markdown())
    if given is None:
        typer.echo(f"kept in {trained.scores_file(split, search)}")


@app.command()
def attention(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET/PRESET…", help="Trained systems, one or several, on drawn studies or padchest_gr."
        ),
    ],
    split: SplitName = "test",
    profile: ProfileName = "ci",
    seed: Annotated[list[int] | None, typer.Option(help="Repeat for several; by default the released one.")] = None,
    labels: Labels = None,
    decoding: Annotated[
        str, typer.Option(help=f"How the system's own reports are searched: {', '.join(PROTOCOLS)}.")
    ] = "greedy",
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="Also write a JSON file a run into this folder.")] = None,
    quiet: Quiet = False,
) -> None:
    """Where trained systems look: how much of a finding word's attention falls into the finding's box, against chance
    and against other studies' maps."""
    from rrg_lib.experiments.attention_results import (
        attention_markdown,
        label_kinds,
        measure_attention,
        store_attention,
    )

    measurements = []
    for name in names:
        for each in seed or [None]:
            trained = named_run(name, profile, each, None, data_root, None, quiet)
            if labels:
                named_decoding(trained, labels)  # refuses labels for a memory that is told none
            for kind in [labels] if labels else label_kinds(trained):
                measurements.append(measure_attention(trained, decoding, split, labels=kind))
    typer.echo(attention_markdown(measurements))
    for path in [store_attention(one, out) for one in measurements] if out else ():
        typer.echo(f"in {path}")


@app.command()
def label(
    reports: Annotated[Path, typer.Argument(help="A CSV with the columns id and report.")],
    out: Annotated[Path, typer.Option(help="Where to write the labels: a CSV of id and the 14 observations.")],
    labeler: Annotated[
        str, typer.Option("--labeler", help="rules-2, the newest; or rules-1, on which stored results stand.")
    ] = "rules-2",
    devices: Annotated[
        str,
        typer.Option(
            help="wide: every tube, wire, clip and implant is a support device. chexpert: those of CheXpert's own list "
            "of mentions."
        ),
    ] = "wide",
) -> None:
    """Read the 14 observations from reports: 1 positive, 0 negative, -1 uncertain, nothing where not mentioned."""
    from rrg_lib.data.text.rule_labeler import ReportLabeler, save_observations
    from rrg_lib.evaluation.nlg import one_report_each
    from rrg_lib.experiments.reports import load_reports

    reader = ReportLabeler(labeler, devices=devices)
    given = one_report_each(load_reports(reports), "report")
    save_observations(out, {study: reader.observations(report) for study, report in given.items()})
    typer.echo(f"{len(given)} reports, labeler {reader.version} {reader.hash}, in {out}")


@app.command()
def efficacy(
    reports: Annotated[
        Path, typer.Argument(help="A CSV with the columns id and report, of exactly the studies of the split.")
    ],
    split: SplitName = "test",
    against: Annotated[
        str,
        typer.Option(help="codes: the experts' codes. report: the labels of the reference reports, as in the papers."),
    ] = "codes",
    out: Annotated[Path | None, typer.Option(help="Also write the numbers to this JSON file.")] = None,
) -> None:
    """Clinical efficacy of reports on a split of IU X-Ray: precision, recall and F1 over each label set, and agreement
    on side and severity."""
    from rrg_lib.evaluation.efficacy import clinical_efficacy
    from rrg_lib.experiments.reports import load_reports
    from rrg_lib.runtime.workspace import write_json

    scores = clinical_efficacy(load_reports(reports), _studies(split), against=against)
    typer.echo(scores.markdown())
    if out:
        write_json(out, scores.to_json())


@app.command()
def audit(
    split: SplitName = "test",
    out: Annotated[Path | None, typer.Option(help="Also write the numbers to this JSON file.")] = None,
) -> None:
    """How far to trust the labeler: its answers on the references themselves, against the experts' codes, and the
    ceiling."""
    from rrg_lib.evaluation.labeler_audit import audit_labeler
    from rrg_lib.runtime.workspace import write_json

    labeler_audit = audit_labeler(_studies(split))
    typer.echo(labeler_audit.markdown())
    if out:
        write_json(out, labeler_audit.to_json())


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
    """Score reports that no model wrote: every trivial baseline and the one of ours that is told what a classifier sees
    in the images, with intervals, and the minutes each takes."""
    from rrg_lib.evaluation.baselines import BASELINES
    from rrg_lib.evaluation.evaluate import evaluate_baselines
    from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
    from rrg_lib.experiments.run import baseline_task, prepared

    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    opened = prepared(dataset, data_root=data_root, progress=not quiet)
    looks = any(name in BASELINES and BASELINES[name].sees == "images" for name in only or BASELINES)
    task = baseline_task(opened, split, looks=looks, progress=not quiet)
    typer.echo(evaluate_baselines(task, names=only or "all", metrics=METRICS if meteor else WITHOUT_JAVA).markdown())


@app.command()
def compare(
    name: Name,
    other: Annotated[
        str, typer.Argument(metavar="DATASET/PRESET", help="The system to compare with, on the same dataset.")
    ],
    profile: ProfileName = "ci",
    seed: Annotated[list[int] | None, typer.Option(help="Repeat for several; by default the released one.")] = None,
    split: SplitName = "test",
    meteor: Annotated[bool, typer.Option(help="METEOR needs Java and about 20 seconds to start.")] = False,
    decoding: Decoding = None,
    data_root: DataRoot = None,
    quiet: Quiet = False,
) -> None:
    """Test whether two trained systems differ on the same studies: paired randomisation, all seeds together. Reads the
    reports that `evaluate` wrote."""
    from rrg_lib.evaluation.comparison import compare_reports, comparison_markdown, same_protocol
    from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
    from rrg_lib.experiments.presets import experiment
    from rrg_lib.experiments.reports import load_reports
    from rrg_lib.experiments.run import prepared
    from rrg_lib.experiments.run_folders import RunFolder, run_folder

    asked = {each: [experiment(each, profile, seed=s) for s in seed or [None]] for each in (name, other)}
    (dataset, *others) = {experiments[0].dataset for experiments in asked.values()}
    if others:
        raise ConfigurationError(
            f"{name} and {other} are of two datasets: what is scored on other studies cannot be compared"
        )
    runs = {each: [RunFolder(run_folder(e), e) for e in experiments] for each, experiments in asked.items()}
    every = [run for each in runs.values() for run in each]
    protocol = decoding or ("tuned" if all(run.written_reports(split, "tuned") for run in every) else None)
    for run in every:
        if run.written_reports(split, protocol) is None:
            chosen = f"rrg tune {run.command}, then: " if protocol == "tuned" else ""
            kind = f"{decoding} reports" if decoding else "reports"
            raise ReportError(
                f"{run.folder} has no {kind} of {split} by its weights as they are now; run: rrg train {run.command}, "
                f"then: {chosen}rrg evaluate {run.command} --split {split}"
                + (f" --decoding {decoding}" if decoding else "")
            )
    reports = {each: [load_reports(run.written_reports(split, protocol)) for run in of] for each, of in runs.items()}
    opened = prepared(dataset, data_root=data_root, progress=not quiet)
    same_protocol([run.folder for run in every], vocabulary=opened.vocabulary.hash, dataset=opened.hash)
    studies = [opened.study(i) for i in opened.split_indices(split)]
    metrics = METRICS if meteor else WITHOUT_JAVA
    typer.echo(f"decoding: {protocol or 'as its settings say'}\n")
    typer.echo(
        comparison_markdown(
            (name, other), compare_reports(reports[name], reports[other], studies, opened.vocabulary, metrics=metrics)
        )
    )


@app.command("results")
def results(
    dataset: Annotated[str, typer.Option(help=f"Dataset: {', '.join(DATASETS)}.")] = "iu_phantom",
    profile: ProfileName = "laptop",
    decoding: Annotated[str, typer.Option(help=f"How reports were searched: {', '.join(STORED_PROTOCOLS)}.")] = "tuned",
    all_settings: Annotated[
        bool, typer.Option("--all", help="Also runs whose settings are not their preset's: sweeps.")
    ] = False,
    baselines: Annotated[bool, typer.Option(help="Print the trivial baselines too.")] = True,
) -> None:
    """The results that the book ships, as a table: one protocol of decoding at a time, means over seeds, 95 % intervals
    of the means over studies."""
    from rrg_lib.experiments.results import results_table, stored_results
    from rrg_lib.runtime.markdown import markdown_table

    if decoding not in STORED_PROTOCOLS:
        raise UnknownNameError("decoding", decoding, STORED_PROTOCOLS)
    shown = [result for result in stored_results(profile, dataset, decoding) if all_settings or result.is_preset]
    if not shown:
        raise ConfigurationError(
            f"nothing is stored of {dataset} in the profile {profile}, decoding {decoding}; tools/results.py run makes "
            f"results"
        )
    frame = results_table(shown, baselines=baselines)
    rows = [[name, *cells] for name, cells in zip(frame.index, frame.to_numpy().tolist(), strict=True)]
    typer.echo("\n".join(markdown_table(["system", *frame.columns], rows)))


@app.command()
def ledger(
    out: Annotated[
        Path | None, typer.Option(help="Folder for ledger.csv and ledger.md; by default build/ledger.")
    ] = None,
    counts_only: Annotated[bool, typer.Option("--counts", help="Print the verdicts' counts alone.")] = False,
    main_only: Annotated[
        bool, typer.Option("--main", help="Print the main table alone: printed and ours, system by system.")
    ] = False,
) -> None:
    """Hold every printed value and every claim of the papers against what was measured, with a verdict each."""
    from rrg_lib.experiments.results import stored_results
    from rrg_lib.replication.claims import claims
    from rrg_lib.replication.claims_in_studies import in_studies, study_reports
    from rrg_lib.replication.ledger import ledger as ledger_rows
    from rrg_lib.replication.ledger_tables import (
        counts_markdown,
        frame_markdown,
        ledger_markdown,
        main_table,
        write_ledger,
    )

    stored = stored_results()
    rows = ledger_rows(stored)
    main = main_table(rows, stored)
    studies = in_studies(claims(), study_reports())
    paths = write_ledger(rows, out or workspace() / "ledger", main, studies)
    whole = ledger_markdown(rows, main, studies).splitlines()
    typer.echo("\n".join(counts_markdown(rows) if counts_only else frame_markdown(main) if main_only else whole))
    typer.echo(f"in {paths[0]} and {paths[1].name}")
