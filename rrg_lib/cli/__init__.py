"""The command line of the book: `rrg --help` names every command."""

from __future__ import annotations

import sys

import typer

# Imported for their commands, in the order in which help names them.
import rrg_lib.cli.beginning
import rrg_lib.cli.data_and_training
import rrg_lib.cli.measuring
import rrg_lib.cli.replicate
import rrg_lib.cli.scoring
import rrg_lib.cli.study  # noqa: F401
from rrg_lib.cli.options import app
from rrg_lib.errors import RRGError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; a user's mistake prints its message alone and exits with 2."""
    try:
        app(standalone_mode=True)
    except RRGError as error:
        typer.secho(f"rrg: {error}", fg="red", err=True)
        sys.exit(2)
