"""Slides of the chapters, from the committed notebooks, to show in a lecture: figures large, exercises without their
answers. Nothing is executed, and no page asks the network for anything.

    .venv/bin/python tools/slides.py                    # build/slides (make slides)
    .venv/bin/python tools/slides.py --only 04 --out talk

nbconvert's reveal slides. A heading begins a slide, to the right; a text below it, and a figure, is a slide further
down; code stands below the text before it. reveal.js and MathJax come from packages and lie beside the pages.
"""

from __future__ import annotations

import argparse
import ast
import copy
import html
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from chapters import ChapterError, sources
from nbformat import NotebookNode
from standalone import plain

from rrg_lib.errors import RRGError
from rrg_lib.runtime.workspace import folder_written_whole, workspace

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WIDTH, HEIGHT = 1280, 720
#: About as many lines of text stand on a slide: code that does not fit below its text begins one of its own.
LINES = 19
#: One whose fonts lie beside it; reveal's other light ones ask Google for theirs.
THEME = "white"
#: What is copied beside the pages: the module that ships it, the folder in it, and which of its files.
SHIPPED = {
    "reveal": ("sphinx_revealjs", "_static/revealjs", ("dist", "LICENSE")),
    "mathjax": (
        "sphinx-mathjax-offline",
        "static/mathjax",
        ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2"),
    ),
}
TEMPLATE = """\
{%- extends 'reveal/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script>
window.MathJax = {tex: {inlineMath: [["$", "$"]], tags: "none"}, chtml: {matchFontHeight: false}};
</script>
<script defer src="mathjax/tex-chtml.js"></script>
{%- endblock -%}
{%- block html_head_css -%}
<style>
.reveal .slides section {max-height: 700px; overflow-y: auto; text-align: left;}
.reveal .slides > section.stack {overflow: visible;}
.reveal .slides :is(h1, h2, h3) {text-transform: none; font-weight: 600;}
.reveal .slides h1 {font-size: 52px;}
.reveal .slides h2 {font-size: 44px;}
.reveal .slides h3 {font-size: 34px;}
.reveal .slides :is(pre, blockquote) {width: 100%; margin: 12px 0; box-shadow: none;}
.reveal .slides .jp-RenderedMarkdown pre {font-size: 20px;}
.reveal .slides .jp-InputArea .highlight pre {font-size: 16px; margin: 0;}
.reveal .slide-number {left: 8px; right: auto;}
.reveal .jp-RenderedImage img, .reveal .jp-RenderedSVG svg {width: 100%; height: 640px; max-height: none; object-fit: contain; margin: 0;}
.reveal .jp-RenderedMarkdown {font-size: 26px;}
.jp-InputPrompt, .jp-OutputPrompt {display: none;}
</style>
{%- endblock -%}
{%- block footer_js -%}
<script src="reveal/dist/reveal.js"></script>
<script>
Reveal.initialize({hash: true, center: false, slideNumber: "c/t", width: WIDTH, height: HEIGHT});
</script>
{%- endblock -%}
""".replace("WIDTH", str(WIDTH)).replace("HEIGHT", str(HEIGHT))

INDEX = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Slides</title></head>
<body><h1>Slides</h1><p>Arrow keys turn the page, F fills the screen, Esc shows all.</p><ul>
{entries}
</ul></body></html>
"""


class SlidesError(Exception):
    """Slides that can't be made. The message says what to do."""


def arranged(chapter: NotebookNode) -> NotebookNode:
    """A copy of an executed chapter whose cells say how they are shown."""
    notebook = copy.deepcopy(chapter)
    filled = 0
    for cell in notebook.cells:
        place = slide_type(cell)
        if pictures(cell):
            cell.metadata["transient"] = {"remove_source": True}
            cell.outputs = pictures(cell)
        if place != "skip":
            if place == "-" and filled + lines(cell) > LINES:
                place = "subslide"
            filled = lines(cell) + (filled if place == "-" else 0)
        cell.metadata["slideshow"] = {"slide_type": place}
    notebook.metadata.pop("widgets", None)
    return notebook


def lines(cell: NotebookNode) -> float:
    """About how many lines of a slide a cell takes."""
    if cell.cell_type == "markdown":
        return sum(0.5 + len(line) // 85 for line in cell.source.splitlines())
    shown = [cell.source]
    for output in cell.get("outputs", ()):
        table = output.get("data", {}).get("text/html", "")
        shown.append("\n" * table.count("<tr") or output.get("text") or output.get("data", {}).get("text/plain", ""))
    return sum(1 + text.count("\n") for text in shown)


def slide_type(cell: NotebookNode) -> str:
    """nbconvert's word for where a cell goes: a `slide`, a `subslide` below it, on the one before (`-`), or `skip`."""
    if cell.cell_type == "markdown":
        return "slide" if cell.source.startswith(("# ", "## ")) else "subslide"
    if cell.cell_type != "code" or "exercise" in cell.metadata or "parameters" in cell.metadata.get("tags", ()):
        return "skip"
    if pictures(cell):
        return "subslide"
    return "-" if cell.get("outputs") or not prepares(cell.source) else "skip"


def pictures(cell: NotebookNode) -> list[NotebookNode]:
    """The outputs of a cell that hold a picture."""
    return [
        output
        for output in cell.get("outputs", ())
        if any(kind.startswith("image/") for kind in output.get("data", {}))
    ]


def prepares(source: str) -> bool:
    """Whether a cell only imports, or asks for an edition of the book."""
    return all(
        isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and ast.unparse(node).startswith("require("))
        for node in ast.parse(plain(source)).body
    )


def page(chapter: NotebookNode, name: str) -> str:
    """A chapter as one page of slides."""
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(raw_template=TEMPLATE, reveal_url_prefix="reveal", reveal_theme=THEME, embed_images=True)
    text, _ = exporter.from_notebook_node(arranged(chapter), {"metadata": {"name": name, "path": str(NOTEBOOKS)}})
    return text


def copy_shipped(out: Path) -> None:
    """reveal.js and MathJax, from the packages that ship them. Raises `SlidesError` where one is not installed."""
    for target, (module, folder, names) in SHIPPED.items():
        found = find_spec(module)
        if found is None or found.origin is None:
            raise SlidesError(f"{module}, which ships {target}, is not installed; run: pip install '.[site]'")
        for name in names:
            source, copied = Path(found.origin).parent / folder / name, out / target / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copied)


def build(out: Path, only: list[str] | None = None) -> int:
    """Writes the pages into `out`, all or nothing. Returns their number."""
    if out.exists() and not (out / "reveal").is_dir():
        raise SlidesError(f"{out} exists and holds no slides; choose another folder with --out")
    chapters = [path.with_suffix(".ipynb") for path in sources(NOTEBOOKS, only)]
    with folder_written_whole(out) as made:
        copy_shipped(made)
        entries = []
        for path in chapters:
            (made / f"{path.stem}.html").write_text(
                page(nbformat.read(path, as_version=4), path.stem), encoding="utf-8"
            )
            shown = html.escape(path.stem.replace("_", " "))
            entries.append(f'<li><a href="{path.stem}.html">{shown}</a></li>')
        (made / "index.html").write_text(INDEX.format(entries="\n".join(entries)), encoding="utf-8")
    return len(chapters)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=workspace() / "slides")
    parser.add_argument("--only", nargs="+", help="chapters, by the beginning of their names")
    given = parser.parse_args(argv)
    try:
        count = build(given.out, given.only)
    except (SlidesError, ChapterError, RRGError) as error:
        print(f"slides: {error}", file=sys.stderr)
        return 1
    print(f"{given.out / 'index.html'}: slides of {count} chapters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
