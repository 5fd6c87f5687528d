"""The built site in a real browser, as a reader has it: every page, on a desk and on a phone, by day and by night.
Screenshots are kept in build/site-shots.

Run by `make site-test`, which builds the site first. It needs a Chromium of the system; a missing one is a failure,
never a silent pass.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rrg_lib.runtime.workspace import workspace

pytestmark = pytest.mark.browser
SITE = Path(os.environ.get("RRG_SITE", workspace() / "site"))
SHOTS = SITE.parent / "site-shots"
DESK, PHONE = {"width": 1360, "height": 900}, {"width": 400, "height": 800}
LOOKED_AT = {
    "start": "index.html",
    "chapter-04": "chapters/04_memory_querying_responding.html",
    "ledger": "ledger.html",
}
#: Further down on them: an equation with its code and figure, an exercise, a long table.
PLACES = {
    "start": {"results": "#what-came-out"},
    "chapter-04": {"figure": "#section-4-4", "exercise": "#exercise-4-1"},
    "ledger": {"table": "#claims"},
}
TYPESET = "() => (window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true)"
FACTS = """() => {
  const article = document.querySelector('article');
  const copy = article.cloneNode(true);
  copy.querySelectorAll('pre, code, mjx-container, script, style, .cell_output').forEach((node) => node.remove());
  return {
    text: copy.textContent,
    formulas: article.querySelectorAll('.math').length,
    typeset: article.querySelectorAll('.math mjx-container').length,
    broken: [...article.querySelectorAll('mjx-merror')].map((node) => node.textContent),
    pictures: [...article.querySelectorAll('img')].map((i) => [i.getAttribute('src'), i.naturalWidth, i.clientWidth, i.clientHeight, i.alt]),
    folded: article.querySelectorAll('details').length,
    sideways: document.documentElement.scrollWidth - window.innerWidth,
  };
}"""


def browser_path() -> str:
    """The Chromium to drive: `RRG_BROWSER`, else the system's."""
    named = os.environ.get("RRG_BROWSER")
    found = (
        named
        if named and Path(named).is_file()
        else None
        if named
        else next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    )
    if found is None:
        pytest.fail(
            f"no Chromium{f' at RRG_BROWSER={named}' if named else ''}: `apt install chromium`, or set "
            f"RRG_BROWSER=/path/to/it",
            pytrace=False,
        )
    return found


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a port of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@dataclass
class Visit:
    """What a page did when it was opened."""

    facts: dict
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    if not (SITE / "index.html").is_file():
        pytest.fail(f"{SITE}: no site here; run: make site", pytrace=False)
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        yield chromium
        chromium.close()


def pages() -> list[str]:
    return sorted(
        path.relative_to(SITE).as_posix()
        for path in SITE.rglob("*.html")
        if "_static" not in path.relative_to(SITE).parts
    )


@contextlib.contextmanager
def opened(browser, origin: str, name: str, context=None, **settings) -> Iterator[tuple]:
    """A page in a context of its own, unless one is given, its mathematics typeset; and what it did."""
    own = context or browser.new_context(**settings)
    tab, visit = own.new_page(), Visit({})

    def asked(request) -> None:
        if urlsplit(request.url).scheme != "data" and not request.url.startswith(origin):
            visit.outside.append(request.url)

    tab.on("console", lambda message: visit.errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: visit.errors.append(str(error)))
    tab.on("request", asked)
    tab.on(
        "response",
        lambda response: visit.failed.append(f"{response.status} {response.url}") if response.status >= 400 else None,
    )
    tab.goto(f"{origin}/{name}", wait_until="load")
    tab.evaluate(TYPESET)
    try:
        yield tab, visit
    finally:
        tab.close() if context else own.close()


@pytest.fixture(scope="module")
def visits(browser, origin: str) -> dict[str, Visit]:
    """Every page of the site, opened once on a phone's screen: its facts and what it did."""
    found, phone = {}, browser.new_context(viewport=PHONE)
    for name in pages():
        with opened(browser, origin, name, phone) as (tab, visit):
            tab.evaluate("() => document.querySelectorAll('img').forEach((i) => { i.loading = 'eager'; })")
            tab.wait_for_function("() => [...document.images].every((i) => i.complete)")
            visit.facts = tab.evaluate(FACTS) if tab.query_selector("article") else {}
        found[name] = visit
    phone.close()
    return found


def faults(visits: dict[str, Visit], of) -> dict[str, object]:
    return {name: found for name, visit in visits.items() if (found := of(visit))}


def test_every_page_loads_without_an_error_or_a_request_to_anybody_else(visits):
    assert len(visits) > 20
    assert faults(visits, lambda v: [*v.errors, *v.failed, *v.outside]) == {}


def test_all_mathematics_is_typeset_and_no_dollar_is_left(visits):
    assert sum(v.facts.get("typeset", 0) for v in visits.values()) > 200
    assert faults(visits, lambda v: v.facts.get("formulas", 0) - v.facts.get("typeset", 0)) == {}
    assert faults(visits, lambda v: v.facts.get("broken")) == {}
    assert (
        faults(visits, lambda v: re.findall(r"\$[^$\n]{0,60}\$|\\(?:mathbf|frac|sum)\b", v.facts.get("text", ""))) == {}
    )


def test_every_figure_has_a_picture_with_a_size_and_a_description(visits):
    pictures = [(name, *picture) for name, v in visits.items() for picture in v.facts.get("pictures", [])]
    assert len(pictures) > 80
    assert [p for p in pictures if min(p[2:5]) < 20 or not p[5].strip()] == []


def test_no_page_scrolls_sideways_on_a_phone(visits):
    assert faults(visits, lambda v: max(0, v.facts.get("sideways", 0))) == {}


def test_search_finds_prototypes(browser, origin):
    with opened(browser, origin, "search.html?q=prototype") as (tab, visit):
        tab.wait_for_selector("#search-results li a", timeout=20_000)
        titles = tab.eval_on_selector_all("#search-results li a", "links => links.map((a) => a.textContent)")
    assert any("Prototypes" in title for title in titles) and not visit.errors, titles


def test_hints_and_solutions_are_folded_and_open_on_a_click(browser, origin):
    with opened(browser, origin, LOOKED_AT["chapter-04"], viewport=DESK) as (tab, _):
        hints, solutions = tab.locator("details.rrg-fold").all(), tab.locator("details.hide").all()
        assert len(hints) >= 4 and len(solutions) >= 4
        for block in (hints[0], solutions[0]):
            body = block.locator("ul, pre").first
            assert not body.is_visible()
            block.locator("summary").click()
            assert body.is_visible() and body.inner_text().strip()


def test_the_ledger_sorts_and_filters(browser, origin):
    with opened(browser, origin, "ledger.html", viewport=DESK) as (tab, visit):
        at = tab.locator("table.sortable").count() - 2  # after the values, the conventions of the printed F1
        values = tab.locator("table.sortable").nth(at)
        before = values.locator("tbody tr").count()
        values.locator("th button").nth(5).click()  # as printed
        texts = values.locator("tbody tr td:nth-child(6)").all_inner_texts()
        numbers = [float(found[0]) for text in texts if (found := re.match(r"-?\d[\d.]*", text.replace(",", "")))]
        assert before > 300 and len(numbers) > 300 and numbers == sorted(numbers)
        tab.locator(".table-filter input").last.fill("XProNet METEOR")
        shown = values.locator("tbody tr:visible").all_inner_texts()
        assert 0 < len(shown) < before and all("XProNet" in row and "METEOR" in row for row in shown)
        assert visit.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_of_the_pages_that_are_looked_at(browser, origin, scheme):
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width, view in (("desk", DESK), ("phone", PHONE)):
        context = browser.new_context(viewport=view, color_scheme=scheme)
        for label, name in LOOKED_AT.items():
            with opened(browser, origin, name, context) as (tab, visit):
                colours = tab.evaluate(
                    "() => ['background-color', 'color'].map((p) => "
                    "getComputedStyle(document.body).getPropertyValue(p))"
                )
                back, front = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
                assert (back < front) == (scheme == "dark") and abs(back - front) > 300, (label, colours)
                assert visit.errors == []
                for suffix, place in {"": "h1", **{f"-{key}": value for key, value in PLACES[label].items()}}.items():
                    tab.locator(place).first.evaluate("(node) => node.scrollIntoView()")
                    shot = SHOTS / f"{label}{suffix}-{width}-{scheme}.png"
                    tab.screenshot(path=shot)
                    assert shot.stat().st_size > 10_000
        context.close()
