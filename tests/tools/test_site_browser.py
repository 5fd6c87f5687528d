"""The built site in a real browser, as a reader has it: every page, on a desk and on a phone, by day and by night.
Screenshots are kept in build/site-shots.

Run by `make site-test`, which builds the site first. It needs a Chromium of the system; a missing one is a failure,
never a silent pass.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
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
    "explorer": "explorer.html",
}
#: Further down on them: an equation with its code and figure, an exercise, a long table.
PLACES = {
    "start": {"results": "#what-came-out"},
    "chapter-04": {"figure": "#section-4-4", "exercise": "#exercise-4-1"},
    "ledger": {"table": "#claims"},
    "explorer": {"panes": ".explorer-reference", "second": ".explorer-pane:nth-child(2)"},
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


#: A wrong answer to exercise 0.1, a right one (spelt unlike the book's), and one that never ends.
ANSWERS = {
    "wrong": "def unique(reports):\n    return len(set(reports.values())) / len(reports)",
    "right": "def unique(reports):\n    texts = list(reports.values())\n    return sum(texts.count(text) == 1 for text in texts) / len(texts)",
    "endless": "def unique(reports):\n    while True:\n        pass",
}


def test_an_exercise_is_tried_in_the_page_offline_and_hears_the_notebooks_hint(browser, origin):
    """Wrong, right, and, in a page that was already warm, one that never ends. What it takes is reported beside the
    screenshots; a site that was built without Pyodide shows no trace of it."""
    from rrg_lib.book.checks import start_here

    page = "chapters/00_start_here.html"
    with opened(browser, origin, page, viewport=DESK) as (tab, visit):
        if not (SITE / "_static" / "python").is_dir():
            assert tab.locator(".rrg-try, script.rrg-exercise").count() == 0
            return
        tried, told, seconds = tab.locator(".rrg-try").first, tab.locator(".rrg-told").first, {}
        for kind, time in (("wrong", "cold"), ("right", "warm")):
            tried.locator("textarea").fill(ANSWERS[kind])
            tried.locator("button", has_text="Check").click()
            tab.wait_for_selector(f'.rrg-told[data-state="{kind}"]', timeout=180_000)
            took = told.evaluate("(node) => [node.dataset.loading, node.dataset.running].map(Number)")
            seconds[time] = sum(took) / 1000
            tried.screenshot(path=shots() / f"exercise-{kind}.png")
            said = told.inner_text()
            if kind == "wrong":
                own: dict = {}
                exec(ANSWERS[kind], own)
                with pytest.raises(AssertionError) as hint:
                    start_here.distinct(own["unique"])
                assert said.strip() == f"CheckError: {hint.value}"
            else:
                assert said.strip() == "Right."
        tried.locator("textarea").fill(ANSWERS["endless"])
        tried.locator("button", has_text="Check").click()
        tab.wait_for_selector('.rrg-told:has-text("stopped after 20 seconds")', timeout=180_000)
        assert visit.outside == [] and visit.errors == [] and visit.failed == []
    (shots() / "exercise-seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
    print(f"an exercise in the page: {seconds['cold']:.1f} s cold, {seconds['warm']:.2f} s warm")


def test_without_scripts_or_from_a_file_a_chapter_is_as_it_was(browser, origin):
    page = "chapters/00_start_here.html"
    with contextlib.closing(browser.new_context(java_script_enabled=False)) as context:
        tab = context.new_page()
        tab.goto(f"{origin}/{page}")
        assert tab.locator("textarea").count() == 0 and tab.locator("details.hide").count() >= 4
    with contextlib.closing(browser.new_context()) as context:
        tab = context.new_page()
        tab.goto((SITE / page).as_uri())
        assert tab.locator("textarea").count() == 0
        said = tab.locator("p.rrg-try").all_inner_texts()
        assert bool(said) == (SITE / "_static" / "python").is_dir() and all("Served (make serve)" in s for s in said)


def test_every_figure_and_every_made_table_can_be_followed(browser, origin):
    """The fold opens, and a link in it leads to the library's page of the function."""
    with opened(browser, origin, "ledger.html", viewport=DESK) as (tab, visit):
        fold = tab.locator("details.rrg-made").first
        assert not fold.locator("li").first.is_visible()
        fold.locator("summary").click()
        assert "SHA-256" in fold.inner_text()
        fold.locator("a").first.click()
        tab.wait_for_load_state()
        assert "/api/rrg_lib." in tab.url and visit.errors == []


def shots() -> Path:
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS


@pytest.mark.parametrize("view", [DESK, PHONE], ids=["desk", "phone"])
def test_the_explorer_works_from_a_file_and_asks_nobody(browser, view):
    if not (SITE / "explorer.html").is_file():
        pytest.fail(f"{SITE}: no site here; run: make site", pytrace=False)
    with opened(browser, SITE.resolve().as_uri(), "explorer.html", viewport=view) as (tab, visit):
        panes = tab.locator(".explorer-pane")
        assert panes.count() == 2
        left, right = (panes.nth(i).bounding_box() for i in (0, 1))
        assert (left["y"] == right["y"]) == (view == DESK)  # side by side, or one under the other
        assert tab.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0
        for study in range(24):
            tab.select_option("#explorer-study", str(study))
            tab.wait_for_function(
                "() => [...document.querySelectorAll('.explorer-film img')].every("
                "(i) => i.complete && i.naturalWidth === 256 && i.alt)"
            )
        assert visit.errors == visit.outside == visit.failed == []


@pytest.mark.parametrize(
    "chapter", ["04_memory_querying_responding", "05_xpronet_prototypes", "06_mcsam_alignment", "11_lineage"]
)
def test_the_explorer_works_within_a_chapter_and_asks_nobody(browser, chapter):
    with opened(browser, SITE.resolve().as_uri(), f"chapters/{chapter}.html", viewport=DESK) as (tab, visit):
        frame = tab.locator("iframe.rrg-explorer")
        frame.scroll_into_view_if_needed()
        inside = tab.frame_locator("iframe.rrg-explorer")
        told = inside.locator(".explorer-told").first
        inside.locator("button[aria-current]").first.focus()
        tab.keyboard.press("Home")
        assert told.inner_text().startswith("Word 1 of")
        tab.keyboard.press("ArrowRight")
        assert told.inner_text().startswith("Word 2 of") and chapter in tab.url  # the theme turned no page
        films = inside.locator(".explorer-film img")
        assert films.count() == 8 and all(
            w == 256 for w in films.evaluate_all("(all) => all.map((i) => i.naturalWidth)")
        )
        high = inside.locator("body").evaluate("(body) => body.scrollHeight")
        tab.wait_for_function(f"() => document.querySelector('iframe.rrg-explorer').clientHeight >= {high}")
        frame.screenshot(path=shots() / f"explorer-in-{chapter[:2]}.png")
        assert visit.errors == visit.outside == visit.failed == []


def test_every_system_of_the_explorer_shows_its_words_on_every_study(browser, origin):
    with opened(browser, origin, "explorer.html", viewport=DESK) as (tab, visit):
        for value in range(tab.locator("#explorer-left option").count()):
            tab.select_option("#explorer-left", str(value))
            for study in (0, 12, 23):
                tab.select_option("#explorer-study", str(study))
                pane = tab.locator(".explorer-pane").first
                words = pane.locator(".explorer-report button")
                words.nth(words.count() - 1).hover()
                assert f"Word {words.count()} of {words.count()}" in pane.locator(".explorer-told").inner_text()
                assert "strongest" in pane.locator("[data-look=cross] figcaption").inner_text()
                assert pane.locator(".explorer-chances li.written").count() == 1
        slots = tab.locator("[data-look=slots]")
        for pair, shown in ((("base", "adaatt"), False), (("cmn", "base"), True)):  # what neither has is not shown
            for side, name in zip(("left", "right"), pair, strict=True):
                tab.select_option(f"#explorer-{side}", label=name)
            assert [slots.nth(i).is_visible() for i in (0, 1)] == [shown] * 2
        assert visit.errors == []


def test_the_explorer_is_led_by_the_keyboard(browser, origin):
    with opened(browser, origin, "explorer.html", viewport=DESK) as (tab, visit):
        left, right = (tab.locator(".explorer-pane").nth(i) for i in (0, 1))
        told = left.locator(".explorer-told")
        left.locator("button[aria-current]").focus()
        tab.keyboard.press("Home")
        before = left.locator("[data-look=cross] svg").first.inner_html()
        assert told.inner_text().startswith("Word 1 of")
        tab.keyboard.press("ArrowRight")
        assert told.inner_text().startswith("Word 2 of")
        assert left.locator("[data-look=cross] svg").first.inner_html() != before
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("ArrowLeft")  # stays at the first
        assert told.inner_text().startswith("Word 1 of")
        tab.keyboard.press("ArrowDown")
        assert not told.inner_text().startswith("Word 1 of")
        focused = (
            "() => document.activeElement.closest('.explorer-pane') === document.querySelectorAll('.explorer-pane')[%d]"
        )
        style = "() => getComputedStyle(document.activeElement).outlineStyle"
        assert tab.evaluate(focused % 0) and tab.evaluate(style) == "solid"
        tab.keyboard.press("Tab")
        assert tab.evaluate(focused % 1)  # the next stop is the other report
        tab.keyboard.press("Shift+Tab")
        assert tab.evaluate(focused % 0) and urlsplit(tab.url).path == "/explorer.html" and visit.errors == []
        assert right.locator("button[tabindex='0']").count() == 1


def test_a_word_that_was_clicked_stays_until_it_is_clicked_again(browser, origin):
    with opened(browser, origin, "explorer.html", viewport=DESK) as (tab, _):
        pane = tab.locator(".explorer-pane").first
        words, told = pane.locator(".explorer-report button"), pane.locator(".explorer-told")
        for clicked in (1, 7):  # another click holds another word
            words.nth(clicked).click()
            words.nth(4).hover()
            assert told.inner_text().startswith(f"Word {clicked + 1} of")
            assert pane.locator("button[aria-pressed=true]").count() == 1
        words.nth(7).click()
        words.nth(4).hover()
        assert told.inner_text().startswith("Word 5 of") and pane.locator("button[aria-pressed=true]").count() == 0


def test_the_explorers_boxes_go_and_come(browser, origin):
    with opened(browser, origin, "explorer.html", viewport=DESK) as (tab, _):
        boxes = tab.locator(".explorer-film .box")
        shown = boxes.count()
        assert shown >= 2 and tab.locator(".explorer-film .asked").count() >= 2
        tab.uncheck("#explorer-boxes")
        assert boxes.count() == 0
        tab.check("#explorer-boxes")
        assert boxes.count() == shown


def test_without_javascript_the_explorer_says_so_and_shows_a_picture(browser, origin):
    context = browser.new_context(java_script_enabled=False)
    with contextlib.closing(context), contextlib.closing(context.new_page()) as tab:
        tab.goto(f"{origin}/explorer.html")
        assert tab.get_by_text("The explorer needs JavaScript").is_visible()
        assert tab.locator("#explorer figure img").is_visible()


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
