"""Builds the book's site from the committed chapters, checks it, and shows it. Nothing is executed and nothing is
fetched.

python tools/website.py build            # build/site, whole or not at all: warnings are errors, then links, anchors,
                                         pictures
python tools/website.py serve            # opens build/site in the browser
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import shutil
import sys
import tempfile
import time
import webbrowser
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import nbformat  # noqa: E402
import site_api  # noqa: E402
import site_chapters  # noqa: E402
import site_links  # noqa: E402
import site_pages  # noqa: E402
import site_python  # noqa: E402
from equations import EquationError  # noqa: E402
from exercises import Exercise  # noqa: E402
from site_text import SiteError  # noqa: E402
from sphinx.cmd.build import build_main  # noqa: E402

from rrg_lib.errors import RRGError  # noqa: E402
from rrg_lib.runtime.workspace import folder_written_whole, workspace  # noqa: E402

#: What of MathJax the pages use: TeX in (what is rare, such as \boldsymbol, is loaded when it is met), HTML with its
#: own fonts out.
MATHJAX = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2")


def chapters(
    folder: Path, out: Path, *, in_pages: bool = False
) -> tuple[dict[str, nbformat.NotebookNode], list[Exercise]]:
    """Every chapter of `folder` as a page in `out`; with `in_pages`, exercises can be tried in them. All faults of all
    chapters are told at once."""
    out.mkdir(parents=True)
    pages, exercises, faults = {}, [], []
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        try:
            pages[path.stem], found = site_chapters.page(path, in_pages=in_pages)
        except SiteError as error:
            faults.append(str(error))
            continue
        exercises += found
        nbformat.write(pages[path.stem], out / path.name)
    if faults or not pages:
        raise SiteError(
            "\n".join(faults) or f"{folder}: no chapter here; expected executed notebooks named NN_name.ipynb"
        )
    return pages, exercises


def mathjax(out: Path) -> None:
    """MathJax and its fonts, from the package that ships them."""
    found = find_spec("sphinx-mathjax-offline")
    if found is None or found.origin is None:
        raise SiteError("MathJax is missing; run: pip install '.[site]'")
    shipped = Path(found.origin).parent / "static" / "mathjax"
    for name in MATHJAX:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (shipped / name).is_dir() else shutil.copy)(shipped / name, target)


def sphinx(source: Path, out: Path, doctrees: Path) -> None:
    """Sphinx with every warning an error; all of them are shown before it gives up."""
    if build_main(
        ["-b", "html", "-W", "-n", "--keep-going", "-q", "-j", "auto", "-d", str(doctrees), str(source), str(out)]
    ):
        raise SiteError("sphinx: the warnings above are errors; mend the page that each names")


def build(notebooks: Path, out: Path, pages: Path, guides: Path | None = None) -> site_links.Report:
    """The site in `out`, which is replaced when the new one is whole and checked, and stays as it was otherwise."""
    with tempfile.TemporaryDirectory() as scratch, folder_written_whole(out) as html:
        source = Path(scratch) / "source"
        shutil.copytree(pages, source, ignore=shutil.ignore_patterns("__pycache__"))
        if guides is not None:
            made_here = shutil.ignore_patterns("results.md")  # the site has a page of results of its own
            shutil.copytree(guides, source / "guides", ignore=made_here)
        in_pages = site_python.package().is_file()
        made, exercises = chapters(notebooks, source / "chapters", in_pages=in_pages)
        if in_pages:
            site_python.write(source / "_static" / "python", site_python.runnable(exercises))
        site_pages.write(source / "generated", exercises, made)
        site_api.write(source / "api")
        mathjax(source / "_static" / "mathjax")
        sphinx(source, html, Path(scratch) / "doctrees")
        report = site_links.check(html)
        if report.faults:
            raise SiteError("\n".join(report.faults))
        (html / ".buildinfo").unlink(missing_ok=True)
    return report


def serve(site: Path, port: int, *, browser: bool = True) -> None:
    """Shows the site on this machine alone, until interrupted."""
    if not (site / "index.html").is_file():
        raise SiteError(f"{site}: no site here yet; run: make site")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)  # somebody has that port: take any
    with server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"the book is at {address}; stop with Ctrl-C", flush=True)
        if browser:
            webbrowser.open(address)
        server.serve_forever()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("build", help="make and check the site")
    making.add_argument(
        "--notebooks", type=Path, default=ROOT / "notebooks", help="the folder of the executed chapters"
    )
    making.add_argument(
        "--pages", type=Path, default=ROOT / "site", help="the folder of the other pages and of conf.py"
    )
    showing = commands.add_parser("serve", help="open it in the browser")
    showing.add_argument("--port", type=int, default=8000)
    showing.add_argument("--no-browser", action="store_true")
    for command in (making, showing):
        command.add_argument("--out", type=Path, default=workspace() / "site")
    args = parser.parse_args(argv)
    try:
        if args.command == "serve":
            serve(args.out, args.port, browser=not args.no_browser)
            return 0
        start = time.perf_counter()
        found = build(args.notebooks, args.out, args.pages, ROOT / "docs")
        seconds = time.perf_counter() - start
        print(
            f"{found.pages} pages, {found.pictures} pictures, {found.links:,} links inside the site, all alive; "
            f"{found.outside} to other hosts, of which only the form was checked; 0 warnings; {seconds:.0f} s\n"
            f"the site is in {os.path.relpath(args.out)}; `make serve` opens it"
        )
    except (SiteError, RRGError, EquationError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
