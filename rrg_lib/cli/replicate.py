"""`rrg replicate`: the papers' tables run anew on their own data, by one command."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rrg_lib.cli.options import DataRoot, Layout, Quiet, app
from rrg_lib.errors import ConfigurationError, DataRootError, StorageError
from rrg_lib.experiments.presets import PROFILES

if TYPE_CHECKING:
    from rrg_lib.replication.replication_plan import ReplicationPlan
    from rrg_lib.replication.replication_report import ReplicationReport

#: Gigabytes that must stay free beside what a replication writes.
SPARE = 2.0


@app.command()
def replicate(
    dataset: Annotated[
        str, typer.Argument(help="iu_xray or mimic_cxr; with --stored iu_phantom, which is no replication.")
    ],
    data_root: DataRoot = None,
    system: Annotated[
        list[str] | None,
        typer.Option("--system", help="A preset; repeat for several. By default all of the papers' tables."),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", help="Repeat for several; by default three.")] = None,
    profile: Annotated[str, typer.Option(help=f"How big: {', '.join(PROFILES)}.")] = "gpu",
    layout: Layout = None,
    meteor: Annotated[bool, typer.Option(help="METEOR needs Java and about 20 seconds an evaluation.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is missing and what it takes, and stop.")
    ] = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="Report the results that the book ships of drawn studies; trains nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the reports; by default replications of the workspace.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Examine and prepare a paper's own data, train and score every system of its tables, decide its claims and write a
    report a paper. Says first what it takes; killed anywhere, the same command goes on."""
    from rrg_lib.replication.replication_plan import replication_plan, run_replication

    if stored:
        asked = {"--data-root": data_root, "--system": system, "--seed": seed, "--layout": layout, "--dry-run": dry_run}
        _report_stored(dataset, [option for option, value in asked.items() if value], out)
        return
    plan = replication_plan(dataset, system or (), seed or (), profile=profile, meteor=meteor)
    data_root = _checked_root(dataset, data_root, dry_run)
    _state(plan)
    if dry_run:
        return
    _check_machine(plan)
    _examine(dataset, data_root, layout, quiet)
    made = run_replication(plan, data_root=_prepared(dataset, data_root, layout, quiet), progress=not quiet)
    typer.echo(f"{made} results made, in {plan.results}")
    _report(plan, out or plan.folder)


def _checked_root(dataset: str, data_root: Path | None, dry_run: bool) -> Path | None:
    """Refuses a data root that is missing, before anything starts; a plan alone can be had without one."""
    if data_root is None:
        if dry_run:
            return None
        raise DataRootError(
            f"{dataset} needs the real images: rrg replicate {dataset} --data-root FOLDER. docs/data.md says where "
            f"they are from and which layouts are read; --dry-run says without them what it would take"
        )
    if not data_root.expanduser().is_dir():
        raise DataRootError(
            f"{data_root} is no folder; --data-root names the one that holds the images of {dataset} (docs/data.md)"
        )
    return data_root.expanduser()


def _needs(plan: ReplicationPlan) -> tuple[float, float, int]:
    """Gigabytes that what is missing will write, gigabytes that are free, and how many runs are missing."""
    from rrg_lib.performance.budget import workloads
    from rrg_lib.replication.replication_plan import missing_replications
    from rrg_lib.replication.study_cost import study_disk

    todo, on = missing_replications(plan), workloads()[plan.dataset]
    place = next(folder for folder in (plan.folder, *plan.folder.parents) if folder.is_dir())
    disk = study_disk(todo, on.train + on.val + on.test, on.views) / 1e9 if todo else 0.0
    return disk, shutil.disk_usage(place).free / 1e9, sum(map(len, todo))


def _hours(plan: ReplicationPlan) -> dict[str, float]:
    """Hours of all missing runs by machine; those of one system take the same."""
    from rrg_lib.performance.budget import GPUS
    from rrg_lib.performance.run_hours import processor_sheet, run_hours
    from rrg_lib.replication.replication_plan import REPLICATED_PROTOCOLS, missing_replications

    missing: dict[str, list] = {}
    for (run,) in missing_replications(plan):
        missing.setdefault(run.system.name, []).append(run)
    total: dict[str, float] = {}
    machines = [*GPUS.values(), processor_sheet()]
    for runs in missing.values():
        one = runs[0].experiment
        kinds = 3 if one.memory is not None and one.memory.gated else 1
        ways = sum(1 for _ in plan.grid.settings(one.decoding))
        for name, hours in run_hours(
            one, ways=ways, searches=kinds * len(REPLICATED_PROTOCOLS), machines=machines
        ).items():
            total[name] = total.get(name, 0.0) + hours * len(runs)
    return total


def _state(plan: ReplicationPlan) -> None:
    """The plan in words: systems, seeds, what is missing, hours and disk."""
    from rrg_lib.performance.run_hours import hours_basis
    from rrg_lib.replication.replication_plan import replicable_systems
    from rrg_lib.runtime.markdown import markdown_table

    places = replicable_systems(plan.dataset)
    typer.echo(f"{plan.title}: question {plan.question_hash}, plan {plan.hash}, profile {plan.profile}")
    rows = [[s.name, s.title, "; ".join(places.get(s.name, ("asked for",)))] for s in plan.systems]
    typer.echo("\n".join(markdown_table(["system", "what it is", "printed in"], rows)))
    disk, free, missing = _needs(plan)
    typer.echo(f"seeds {', '.join(map(str, plan.seeds))}: {missing} of {len(plan.runs())} runs are missing")
    if missing:
        hours = _hours(plan)
        typer.echo(
            "\n".join(markdown_table(["machine", "hours at most"], [[n, f"{h:,.1f}"] for n, h in hours.items()]))
        )
        typer.echo(f"{hours_basis()}; a training that stops early takes less")
    typer.echo(f"disk: about {disk:.1f} GB, {free:.1f} GB are free")


def _check_machine(plan: ReplicationPlan) -> None:
    """Refuses a machine without a GPU, unless the processor was asked for, and a disk that is too small. Nothing was
    started."""
    import os

    from rrg_lib.replication.claims import PUBLISHED_SETTING
    from rrg_lib.runtime.device import this_device
    from rrg_lib.runtime.workspace import workspace

    disk, free, missing = _needs(plan)
    if missing and disk + SPARE > free:
        raise StorageError(
            f"{workspace()} has {free:.1f} GB free and this takes about {disk:.1f} GB, {SPARE:g} GB to spare. Nothing "
            f"was started. Free some space, set RRG_HOME to a folder on a larger disk, or run fewer (--system, --seed)"
        )
    on_processor = this_device().type == "cpu" and os.environ.get("RRG_DEVICE") != "cpu"
    if missing and on_processor and plan.profile == PUBLISHED_SETTING:
        raise ConfigurationError(
            f"there is no GPU here, and the published setting needs one: the table above says what {missing} runs take "
            f"on some, and on this processor. Nothing was started. To go on anyway: RRG_DEVICE=cpu rrg replicate "
            f"{plan.dataset} …; for something smaller: --profile laptop, which replicates nothing"
        )


def _examine(dataset: str, data_root: Path, layout: str | None, quiet: bool) -> None:
    """The doctor's word; stops where `prepare` would. A folder that was prepared before was examined then."""
    from rrg_lib.data.doctor import examine
    from rrg_lib.data.shards import MANIFEST

    if (data_root / MANIFEST).is_file():
        return
    found = examine(data_root, dataset=dataset, layout=layout, progress=not quiet)
    if found.status == 2:
        raise DataRootError(f"{found}\n\nNothing was started; mend this, then run the same command")
    typer.echo(f"{found}\n")


def _prepared(dataset: str, data_root: Path, layout: str | None, quiet: bool) -> Path:
    """The folder of the prepared dataset, made on all cores where it is not there."""
    from rrg_lib.experiments.run import prepared

    return prepared(dataset, data_root=data_root, layout=layout, progress=not quiet).folder


def _report(plan: ReplicationPlan, folder: Path) -> None:
    """Ledger, figures and reports of what is there; exits with 1 where runs failed."""
    from rrg_lib.experiments.results import results_in
    from rrg_lib.replication.ledger import ledger
    from rrg_lib.replication.ledger_tables import write_ledger
    from rrg_lib.replication.replication_plan import open_failures
    from rrg_lib.replication.replication_report import run_reports

    results = results_in(plan.results)
    write_ledger(ledger(results, plan.profile), folder / "ledger")
    _write(run_reports(plan, results), folder)
    if failed := open_failures(plan):
        for name, errors in failed.items():
            typer.echo(f"failed: {name}: {errors[-1]}", err=True)
        typer.echo("the same command tries these again; the reports name them", err=True)
        raise typer.Exit(1)


def _report_stored(dataset: str, unused: list[str], out: Path | None) -> None:
    from rrg_lib.experiments.results import stored_results
    from rrg_lib.replication.replication_report import drawn_reports
    from rrg_lib.replication.verdicts import DRAWN
    from rrg_lib.runtime.workspace import workspace

    if dataset != DRAWN:
        raise ConfigurationError(f"--stored reports what the book ships, which is of {DRAWN}, not of {dataset}")
    if unused:
        raise ConfigurationError(f"{', '.join(unused)}: --stored reads no images and runs nothing; leave them out")
    _write(drawn_reports(stored_results()), out or workspace() / "replications" / DRAWN)


def _write(reports: Sequence[ReplicationReport], folder: Path) -> None:
    """The reports, each with a figure of every table that has ours."""
    from rrg_lib.book.figures.paper_figures import table_pictures
    from rrg_lib.replication.replication_report import write_replication_report

    for report in reports:
        pictures = table_pictures(report.values, folder, report.stem)
        paths = write_replication_report(report, folder, pictures)
        counted = ", ".join(f"{n} {verdict.value}" for verdict, n in report.counts.items() if n)
        typer.echo(f"{report.paper}: {counted}; {', '.join(str(path) for path in paths)}")
