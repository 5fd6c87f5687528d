"""The commands of a course: a module of one's own, and a claim as a project."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from rrg_lib.cli.options import Settings, app
from rrg_lib.errors import ConfigurationError


@app.command("check-mine")
def check_mine(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.py", help="A memory or a generator with its settings, as in rrg_lib/models.")
    ],
    equals: Annotated[
        str | None,
        typer.Option(help="A preset whose memory it is to equal number by number; by default EQUALS of the file."),
    ] = None,
    train: Annotated[
        bool, typer.Option(help="Train it in the ci profile, minutes, and show its row beside BASE, BASE+MEM and CMN.")
    ] = True,
    settings: Settings = None,
) -> None:
    """Hold a memory or generator of one's own against what every one promises, then train it and put it beside the
    others. The file runs as your own code on this machine, with all that you may do: check nobody else's that you have
    not read."""
    from rrg_lib.book.own_module import beside_others, own_promises, own_row

    typer.echo(f"{file} runs as your own code on this machine; read a file of somebody else's first.\n")
    for promise in own_promises(file, equals):
        typer.echo(f"✓ {promise}")
    if train:
        typer.echo("\nTraining in the ci profile …")
        typer.echo(beside_others(own_row(file, settings or ()), settings or ()).markdown())
        typer.echo("One seed each: a difference here is no order. Chapter 10 says what one needs.")


@app.command()
def project(
    claim: Annotated[
        str | None, typer.Argument(metavar="CLAIM", help="Id of a claim, as `rrg ledger` lists them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder in which the project's is made; by default projects of the workspace.")
    ] = None,
    examples: Annotated[
        bool, typer.Option("--examples", help="For lecturers: three worked examples, their verdicts apart.")
    ] = False,
) -> None:
    """Write a project's folder: the claim, the data, a plan to fill in, the form, the rubric."""
    from rrg_lib.book.claim_project import write_examples, write_project
    from rrg_lib.runtime.workspace import workspace

    if examples == (claim is not None):
        raise ConfigurationError("name a claim, for example cmn-memory-grows, or ask for --examples")
    folder = out or workspace() / "projects"
    made = write_examples(folder / "for-lecturers") if examples else write_project(claim, folder, date.today())
    typer.echo(f"{made}: {', '.join(sorted(path.name for path in made.iterdir()))}")
