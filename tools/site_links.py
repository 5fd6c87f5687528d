"""What a reader's browser would stumble over, told from the built pages alone: dead links and anchors, requests to
other hosts, pictures without words.

Links to other hosts are only checked for their form: nothing is fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from site_made import CLASS

#: What makes a browser fetch something, by tag.
FETCHED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
#: Relations of <link> that fetch.
FETCHING = {"stylesheet", "icon", "preload", "modulepreload", "manifest", "apple-touch-icon", "prefetch"}
IN_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?(?P<to>(?:https?:)?//[^"')\s]+)""")


@dataclass
class Page(HTMLParser):
    """One page: the anchors it has, what it links to, what it fetches, and its pictures."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    pictures: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.figures: list[bool] = []
        self.rows, self.unmade = 0, ""
        self.feed(self.path.read_text(encoding="utf-8"))
        self.tell_unmade()

    def tell_unmade(self) -> None:
        """Every figure and every sortable table is followed by a fold that says how it was made, before the next
        one."""
        if self.unmade:
            self.faults.append(f"{self.unmade} does not say how it was made; give it a fold of `site_made`")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given and (name == "id" or tag == "a")}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (name := FETCHED.get(tag)) and name in given:
            self.fetched.append(given[name])
        if tag == "link" and FETCHING & set(given.get("rel", "").split()):
            self.fetched.append(given.get("href", ""))
        if "style" in given and (found := IN_STYLE.search(given["style"])):
            self.fetched.append(found["to"])
        kinds = set(given.get("class", "").split())
        if tag == "figure" or (tag == "table" and "sortable" in kinds):
            self.tell_unmade()
            self.unmade = f"a {tag}"
        if tag == "details" and CLASS in kinds and not self.rows:
            self.unmade = ""
        self.rows += tag == "table"
        if tag == "figure":
            self.figures.append(False)
        if tag == "figcaption" and self.figures:
            self.figures[-1] = True
        if tag == "img":
            self.pictures += 1
            if not given.get("alt", "").strip():
                self.faults.append(f"the picture {given.get('src', '')!r} has no description (alt)")

    def handle_endtag(self, tag: str) -> None:
        self.rows -= tag == "table"
        if tag == "figure" and self.figures and not self.figures.pop():
            self.faults.append("a figure has no caption")


@dataclass
class Report:
    """What was found on all pages."""

    pages: int
    pictures: int
    links: int
    outside: int
    faults: list[str]


def check(site: Path) -> Report:
    """Reads every page and style sheet under `site`."""
    pages = {
        path.relative_to(site).as_posix(): Page(path)
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
    }
    faults, inside, outside = [], 0, 0
    for name, page in pages.items():
        faults += [f"{name}: {fault}" for fault in page.faults]
        for target in page.fetched:
            if is_outside(target):
                faults.append(f"{name}: fetches {target} from another host; ship the file in site/_static")
            elif not target.startswith("data:") and not inside_file(site, page.path, urlsplit(target).path):
                faults.append(f"{name}: {target} is missing")
        for target in page.links:
            parts = urlsplit(target)
            if is_outside(target) or parts.scheme:
                outside += 1
                if not well_formed(target):
                    faults.append(f"{name}: the link {target!r} is no address")
                continue
            inside += 1
            if fault := dead(site, page, target, pages):
                faults.append(f"{name}: the link {target!r} is dead: {fault}")
    for sheet in sorted(site.rglob("*.css")):
        for found in IN_STYLE.finditer(sheet.read_text(encoding="utf-8")):
            faults.append(f"{sheet.relative_to(site)}: fetches {found['to']} from another host")
    return Report(
        len(pages), sum(page.pictures for page in pages.values()), inside, outside, list(dict.fromkeys(faults))
    )


def is_outside(target: str) -> bool:
    return target.startswith("//") or urlsplit(target).scheme in ("http", "https")


def well_formed(target: str) -> bool:
    parts = urlsplit(target)
    if parts.scheme == "mailto":
        return "@" in parts.path
    return (
        parts.scheme in ("http", "https")
        and bool(re.fullmatch(r"[\w.-]+\.\w{2,}(:\d+)?", parts.netloc))
        and not re.search(r"\s", target)
    )


def inside_file(site: Path, page: Path, target: str) -> Path | None:
    """The file that a path on a page means; None when there is none, or it lies outside the site."""
    start = site if target.startswith("/") else page.parent
    path = (start / unquote(target).lstrip("/")).resolve()
    if not path.is_relative_to(site.resolve()):
        return None
    path = path / "index.html" if path.is_dir() else path
    return path if path.is_file() else None


def dead(site: Path, page: Page, target: str, pages: dict[str, Page]) -> str:
    """Why a link inside the site leads nowhere; empty when it does not."""
    parts = urlsplit(target)
    path = inside_file(site, page.path, parts.path) if parts.path else page.path.resolve()
    if path is None:
        return "there is no such page"
    goal = pages.get(path.relative_to(site.resolve()).as_posix())
    if parts.fragment and goal and unquote(parts.fragment) not in goal.anchors:
        return "that page has no such place"
    return ""
