"""The commands for reports of anybody's: their scores, the conventions of clinical F1, ReXrank's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rrg_lib.cli.options import SplitName, app
from rrg_lib.errors import ConfigurationError, ReportError, UnknownNameError

if TYPE_CHECKING:
    from rrg_lib.evaluation.report_files import ReportFile, ReportPairs

_ID_HELP = "The column of study ids; by default told from common names."


@app.command()
def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="CSV, TSV, JSON, JSON lines or Parquet: an id, a prediction and, if it has one, a reference a row; or "
            "a ReXrank file."
        ),
    ],
    other: Annotated[
        Path | None, typer.Argument(help="Predictions of a second system for the same studies: adds a paired test.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option("--references", help="A file of references, joined by id, where they stand apart.")
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help=_ID_HELP)] = None,
    prediction: Annotated[
        str | None, typer.Option("--prediction", metavar="COLUMN", help="The column of predictions.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", metavar="COLUMN", help="The column of references.")
    ] = None,
    cleaning: Annotated[
        str, typer.Option(help="How both sides are cleaned before they are scored: r2gen, r2gen_mimic or none.")
    ] = "r2gen",
    common: Annotated[
        bool, typer.Option("--common", help="Score the studies that all files have, where their ids differ.")
    ] = False,
    meteor: Annotated[bool, typer.Option(help="METEOR needs Java and about 20 seconds to start.")] = True,
    radeval: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="Also this metric of RadEval (rrg radeval lists them). Repeatable."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Print the blind baselines where the studies are a split of IU X-Ray.")
    ] = True,
    conventions: Annotated[
        bool,
        typer.Option("--conventions", help="Instead: clinical F1 of the same reports under every way to count it."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Also write the result to this file: .md, .json or .csv by its suffix.")
    ] = None,
) -> None:
    """Score anybody's reports: all language metrics, findings, intervals, beside trivial baselines where the split is
    known. No trained run, no images."""
    from rrg_lib.evaluation.conventions import convention_table
    from rrg_lib.evaluation.nlg import METRICS, WITHOUT_JAVA
    from rrg_lib.evaluation.score_reports import CLEANINGS, csv_text, out_format, score_reports, write_result

    if out:
        out_format(out)
    if cleaning not in CLEANINGS:
        raise UnknownNameError("cleaning", cleaning, CLEANINGS)
    if conventions and other:
        raise ConfigurationError(f"--conventions takes one file of predictions, not {predictions} and {other}")
    files = [path for path in (predictions, other) if path]
    if conventions and radeval:
        raise ConfigurationError("--conventions counts findings and takes no --radeval; give one of the two")
    if out and (taken := [path for path in (*files, references) if path and path.resolve() == out.resolve()]):
        raise ConfigurationError(f"--out {out}: would replace {taken[0]}, which is read. Choose another file")
    paired = _pairs(files, references, id_column, prediction, reference, cleaning, common)
    names = _names(files)
    if conventions:
        (pairs,) = paired
        table = convention_table(pairs.predictions, pairs.references)
        rows = table.table()
        warnings = "".join(f"**Warning**: {w}\n" for w in pairs.warnings)
        shown = warnings + table.markdown(names[0]) + "".join(f"- {note}\n" for note in pairs.notes)
        by_format = {"markdown": shown, "json": {**table.to_json(), "warnings": list(pairs.warnings)}}
        by_format["csv"] = csv_text([list(rows.columns), *rows.to_numpy().tolist()])
    else:
        scores = score_reports(
            paired[0],
            other=paired[1] if other else None,
            names=names,
            cleaning=cleaning,
            metrics=METRICS if meteor else WITHOUT_JAVA,
            external=tuple(radeval or ()),
            baselines=baselines,
            seed=seed,
        )
        by_format = {"markdown": scores.markdown(), "json": scores.to_json(), "csv": scores.csv()}
    typer.echo(by_format["markdown"])
    if out:
        write_result(out, **by_format)
        typer.echo(f"in {out}")


@app.command("radeval")
def radeval_metrics() -> None:
    """List the metrics of RadEval that `rrg score --radeval` can add: what each needs and costs."""
    from rrg_lib.evaluation.radeval import external_metrics_markdown

    typer.echo(external_metrics_markdown())


@app.command()
def rexrank(
    folder: Annotated[Path, typer.Argument(help="Where to write the files, one a system.")],
    reports: Annotated[
        Path | None, typer.Option(help="A file of predictions for exactly the split's studies; else the baselines'.")
    ] = None,
    split: SplitName = "test",
    only: Annotated[list[str] | None, typer.Option(help="Only this baseline. Repeatable.")] = None,
) -> None:
    """Write ReXrank's files for IU X-Ray (590 test or 296 val studies): of somebody's predictions, or of the trivial
    baselines."""
    from rrg_lib.evaluation.baselines import DEFAULT_BASELINES
    from rrg_lib.evaluation.report_files import read_reports
    from rrg_lib.evaluation.rexrank import as_mapping, write_baselines, write_rexrank

    if split not in ("val", "test"):
        raise UnknownNameError("split of ReXrank's IU X-Ray", split, ("val", "test"))
    if reports:
        paths = [folder / f"{reports.stem}-{split}.json"]
        write_rexrank(paths[0], as_mapping(read_reports(reports).predictions), split)
    else:
        paths = write_baselines(folder, split, tuple(only or DEFAULT_BASELINES))
    for path in paths:
        typer.echo(f"in {path}")


def _names(files: list[Path]) -> tuple[str, ...]:
    """The files' names without suffix, or as much of their paths as tells two of them apart."""
    stems = tuple(path.stem for path in files)
    return stems if len(set(stems)) == len(stems) else tuple(str(path) for path in files)


def _pairs(
    files: list[Path],
    references: Path | None,
    id_column: str | None,
    prediction: str | None,
    reference: str | None,
    cleaning: str,
    common: bool,
) -> list[ReportPairs]:
    """What each file of predictions is held against: its own references, those of a file apart, or the collection's
    own."""
    from rrg_lib.evaluation.report_files import read_reports

    apart = None
    if references:
        apart = read_reports(references, id_column=id_column, reference=reference, holds="references")
    columns = {} if references else {"reference": reference}
    read = [read_reports(path, id_column=id_column, prediction=prediction, **columns) for path in files]
    paired = [_pair(file, apart, read[0], cleaning, common) for file in read]
    if len(paired) == 2 and (paired[0].ids != paired[1].ids):
        paired = _same_studies(paired, files, common)
    if len(paired) == 2 and paired[0].references != paired[1].references:
        differ = sum(a != b for a, b in zip(paired[0].references, paired[1].references, strict=True))
        raise ReportError(
            f"{files[0]} and {files[1]} hold other references for {differ} of {len(paired[0].ids)} studies. Expected "
            f"the same; give them once with --references"
        )
    return paired


def _pair(file: ReportFile, apart: ReportFile | None, first: ReportFile, cleaning: str, common: bool) -> ReportPairs:
    from dataclasses import replace

    from rrg_lib.data.iu_xray import studies
    from rrg_lib.evaluation.report_files import joined
    from rrg_lib.evaluation.rexrank import collection_ids, findings_part
    from rrg_lib.evaluation.score_reports import cleaner

    predictions, notes = file.predictions, list(file.notes)
    ids = collection_ids(list(predictions))
    if ids is not None:
        predictions = {ids[study]: text for study, text in predictions.items()}
    beside = apart or (file if file.references is not None else first if first.references is not None else None)
    if beside is not None:
        truth, name = beside.references, beside.path.name
        notes += beside.notes if beside is apart else []
        if ids is not None and (theirs := collection_ids(list(truth))) is not None:
            truth = {theirs[study]: text for study, text in truth.items()}
        elif ids is not None:
            predictions = file.predictions
    elif ids is not None:
        whose = {study.id: study.split for study in studies()}
        split = max(("test", "val", "train"), key=lambda s: sum(whose[i] == s for i in predictions))
        truth, name = {study.id: study.report for study in studies(split)}, f"the {split} split of IU X-Ray"
        notes.append(f"{file.path.name}: has no references; they are the FINDINGS of the {split} split of IU X-Ray")
    else:
        raise ReportError(
            f"{file.path}: has no column of references, and its ids are not those of IU X-Ray. Expected a column such "
            f"as reference (say which with --reference), or a file of them with --references FILE"
        )
    if file.rexrank and file.columns.get("reference") in ("section_findings", "findings") and apart is None:
        parts = {study: findings_part(text) for study, text in predictions.items()}
        if headed := sum(part is not None for part in parts.values()):
            notes.append(
                f"{file.path.name}: {headed} predictions are headed “Findings: … Impression: …”; their FINDINGS are "
                f"held against the findings (--reference report: the whole against the whole)"
            )
            predictions = {s: predictions[s] if part is None else part for s, part in parts.items()}
    clean = cleaner(cleaning)
    pairs = joined(predictions, truth, names=(file.path.name, name), common=common, empty=lambda text: not clean(text))
    return replace(pairs, notes=(*notes, *pairs.notes))


def _same_studies(systems: list[ReportPairs], files: list[Path], common: bool) -> list[ReportPairs]:
    """Two systems on the studies that both are scored on, in one order."""
    from dataclasses import replace

    a, b = systems
    theirs = set(b.ids)
    both = [i for i in a.ids if i in theirs]
    if len(both) == len(a.ids) == len(b.ids) or (common and both):
        several = []
        for pairs in systems:
            rows = {i: k for k, i in enumerate(pairs.ids)}
            order = [rows[i] for i in both]
            left = len(pairs.ids) - len(both)
            warned = (f"{left} studies that one file lacks are left out",) if left else ()
            several.append(
                replace(
                    pairs,
                    ids=tuple(both),
                    predictions=tuple(pairs.predictions[k] for k in order),
                    references=tuple(pairs.references[k] for k in order),
                    warnings=(*pairs.warnings, *warned),
                )
            )
        return several
    raise ReportError(
        f"{files[0]} has {len(a.ids)} studies to score, {files[1]} has {len(b.ids)}, and {len(both)} are of both. "
        f"Expected the same; score those of both with --common"
    )
