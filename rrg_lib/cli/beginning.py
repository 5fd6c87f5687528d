"""The command for a first look: one drawn study, and what the system that comes with the package writes of it."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from rrg_lib.cli.options import app
from rrg_lib.errors import ConfigurationError

_WIDTH = 100


@app.command()
def demo(
    study: Annotated[
        str | None,
        typer.Option(help="Id of a study of IU X-Ray, e.g. CXR2384_IM-0942; by default the first simple test study."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the picture goes, a PNG; by default demo/STUDY.png in the workspace.")
    ] = None,
) -> None:
    """A drawn study, the report that a small trained system writes of it, word by word, and a picture of both. Needs
    nothing but the install."""
    if out is not None and out.suffix.lower() != ".png":
        raise ConfigurationError(f"--out {out}: the picture is a PNG; name a file that ends in .png")
    from rrg_lib.book.demonstration import demonstrate, finding_names, first_glanceable
    from rrg_lib.data import iu_xray
    from rrg_lib.experiments.shipped_system import shipped_provenance, shipped_system
    from rrg_lib.runtime.workspace import workspace

    chosen = iu_xray.study(study) if study else first_glanceable()
    system = shipped_system()
    learnt = " (it learnt from this study)" if chosen.split == "train" else ""
    typer.echo(
        f"{chosen.id}, a study of the {chosen.split} split{learnt}, its two films drawn from the experts' codes: "
        f"{', '.join(finding_names(chosen.drawn)) or 'no finding'}.\n\nThe small CMN writes:"
    )
    column = 0

    def write(word: str) -> None:
        nonlocal column
        if column + len(word) > _WIDTH:
            typer.echo()
            column = 0
        typer.echo(f"{word} ", nl=False)
        column += len(word) + 1

    shown = demonstrate(system, chosen, write)
    provenance = shipped_provenance()
    picture = out or workspace() / "demo" / f"{chosen.id}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    shown.picture(f"{system.experiment.name}, seed {system.experiment.training.seed}", picture)
    typer.echo(f"\n\nThe radiologist wrote:\n{fill(chosen.report, _WIDTH)}\n\nRead against the codes, {shown.verdict}.")
    ours, constant = provenance["scores"], provenance["constant_report"]
    typer.echo(
        fill(
            f"One study says little. Over the 590 drawn test studies this system has a finding-F1 of "
            f"{ours['finding-F1']:.2f} and a BLEU-4 of {ours['BLEU-4']:.3f}; one report, the same for everybody, has "
            f"{constant['finding-F1']:.2f} and {constant['BLEU-4']:.3f}. Chapter 00 goes on from here.",
            _WIDTH,
        )
    )
    typer.echo(f"picture: {picture}")
