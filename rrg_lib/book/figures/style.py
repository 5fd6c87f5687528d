"""How every figure of the book looks, and how it is kept: by name, in the folder of figures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from rrg_lib.runtime.workspace import workspace, written_whole

STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "image.cmap": "gray",
    "figure.dpi": 110,
    "savefig.dpi": 150,
}
#: Colours that the colour-blind can tell apart (Okabe and Ito): ours, theirs, warning, quiet.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#888888"

#: Pictures with more colours than this, maps and photographs, are no case for a palette.
FEW_COLOURS = 1024
#: How well those are kept: what a film shows at this size, in a third of the bytes.
QUALITY = 90


class BookFigure(Figure):
    """A figure that a notebook shows as a picture, without pyplot and without a magic command."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, bytes]:
        picture, small = BytesIO(), BytesIO()
        with rc_context(STYLE):
            self.savefig(picture, format="png", dpi=self.dpi)
        image = Image.open(picture).convert("RGB")
        if image.getcolors(FEW_COLOURS) is None:
            image.save(small, format="jpeg", quality=QUALITY, subsampling=0, optimize=True)
            return {"image/jpeg": small.getvalue()}
        # Lines and text have some hundred shades, most of them of the edges of letters: a palette holds them in a third
        # of the bytes.
        image.quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
        return {"image/png": small.getvalue()}


def new_figure(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 3.0, **options: Any
) -> tuple[Figure, Any]:
    """A figure in the book's style, size in inches, and its axes. It is no pyplot figure: nothing is kept open."""
    with rc_context(STYLE):
        figure = BookFigure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, **options)
    return figure, axes


def finish(figure: Figure, where: Path | str | None) -> Figure:
    """Keep the figure: at a path, or under a name (`04_shared_slots`) in the workspace's `figures/`; None keeps it in
    memory only."""
    if where is not None:
        path = where if isinstance(where, Path) else workspace() / "figures" / f"{where}.png"
        with rc_context(STYLE), written_whole(path) as temporary:
            figure.savefig(temporary, format="png")
    return figure
