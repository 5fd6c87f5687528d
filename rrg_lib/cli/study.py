"""`rrg study`: a comparison that was planned before it was run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rrg_lib.cli.options import DataRoot, Quiet, app

study = typer.Typer(
    name="study",
    help="Plan, run and report a study: systems, conditions, seeds and verdicts, declared before anything is trained.",
    no_args_is_help=True,
)
app.add_typer(study)

StudyName = Annotated[
    str, typer.Argument(metavar="NAME|FILE.toml", help="A study of the project (data/studies), or a plan of one's own.")
]
Results = Annotated[
    Path | None, typer.Option("--results", help="Folder of the results; by default studies/results of the workspace.")
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes of one thread each; by default one a core.")]


@study.command("list")
def list_studies() -> None:
    """The studies of the project: name, question hash, runs, title."""
    from rrg_lib.replication.study_plan import known_plans, study_plan

    for name in known_plans():
        plan = study_plan(name)
        typer.echo(f"{name}  {plan.question_hash}  {len(plan.runs())} runs  {plan.title}")


@study.command()
def plan(
    name: StudyName,
    results: Results = None,
    jobs: Jobs = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List every run that is missing, and time nothing.")
    ] = False,
) -> None:
    """Say what the study asks, which runs are missing, and what they take here: hours of a core, disk."""
    from rrg_lib.performance.yardstick import yardstick
    from rrg_lib.replication.study_cost import study_cost
    from rrg_lib.replication.study_plan import study_plan
    from rrg_lib.replication.study_runs import missing_runs
    from rrg_lib.runtime.worker_pool import cpus

    made = study_plan(name)
    typer.echo(f"{made.title}\n{made.question}\n")
    typer.echo(f"declared {made.declared}, question {made.question_hash}, plan {made.hash}")
    typer.echo(f"smallest differences that matter: {', '.join(f'{m} {d:g}' for m, d in made.deltas.items())}")
    typer.echo(f"pilot: {' '.join(made.pilot.words.split())}\ncut: {' '.join(made.pilot.cut.split())}\n")
    if dry_run:
        for group in missing_runs(made, results):
            typer.echo(f"{group[0].experiment.hash}  {', '.join(run.name for run in group)}")
    else:
        typer.echo(study_cost(made, yardstick, results).markdown(jobs or cpus()))


@study.command()
def run(
    name: StudyName,
    results: Results = None,
    jobs: Jobs = None,
    most: Annotated[int | None, typer.Option(min=1, help="So many trainings at most.")] = None,
    data_root: DataRoot = None,
    quiet: Quiet = False,
) -> None:
    """Train and score what is missing. Killed anywhere, the same command goes on."""
    from rrg_lib.replication.study_plan import study_plan
    from rrg_lib.replication.study_runs import results_folder, run_study

    made = study_plan(name)
    count = run_study(made, results, jobs=jobs, data_root=data_root, most=most, progress=not quiet)
    typer.echo(f"{count} results made, in {results or results_folder()}")


@study.command()
def report(
    name: StudyName,
    results: Results = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for NAME.md and NAME.json; by default studies of the workspace.")
    ] = None,
) -> None:
    """Decide every comparison of the plan by what is there, and write it as Markdown and JSON."""
    from rrg_lib.replication.study_plan import study_plan
    from rrg_lib.replication.study_report import study_report, write_study_report

    found = study_report(study_plan(name), results)
    text, data = write_study_report(found, out)
    typer.echo(found.markdown())
    typer.echo(f"in {text} and {data.name}")
