"""The site's pages that are made of data: results, ledger, exercises, equation map, timings, how to cite. Nothing in
them is typed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import equations
import nbformat
import site_explorer
import site_python
import yaml
from exercises import Exercise
from site_chapters import is_picture
from site_made import Made, in_cell, runs
from site_text import SiteError, figure, folded, page_part, plain, table

from rrg_lib.book.figures import paper_figures
from rrg_lib.book.figures.folder import ENTRIES, PRINTED, RESULTS
from rrg_lib.book.figures.replication_ledger import verdict_counts
from rrg_lib.book.study_verdicts import systems_in_words, verdicts_in_words, verdicts_of
from rrg_lib.evaluation.metrics import FINDING_F1, metrics_shown
from rrg_lib.experiments.results import StoredResult, results_table, stored_results
from rrg_lib.experiments.stored_runs import by_system
from rrg_lib.replication.claims import claims
from rrg_lib.replication.claims_in_studies import in_studies, study_claims_table, study_reports
from rrg_lib.replication.ledger import LedgerRow, counts, ledger
from rrg_lib.replication.ledger_tables import main_table, shown, studies_in_words
from rrg_lib.replication.printed_conventions import READING, convention_columns, statement_lines
from rrg_lib.replication.replication_report import NOT_A_REPLICATION, drawn_reports
from rrg_lib.replication.study_plan import known_plans, study_plan
from rrg_lib.replication.study_report import study_report
from rrg_lib.replication.study_runs import shipped_results
from rrg_lib.replication.verdicts import DRAWN as DRAWN_STUDIES
from rrg_lib.replication.verdicts import Verdict
from rrg_lib.runtime.document import PageTable, PageText

ROOT = Path(__file__).resolve().parent.parent
#: The rows of the start page: each system as released, the label-gated one without the leak, and what never looks at an
#: image.
FIRST, FIRST_BASELINES = ("base", "cmn", "xpronet", "mcsam", "cmn_pair"), ("a1", "b")
#: The start page's picture, by the name that a chapter gives it.
FIRST_FIGURE = '"00_report"'
#: Figures of the papers that ours stand beside and that no trained run on this machine is needed for.
DRAWN = (
    "cmn_table_2",
    "xpronet_table_2",
    "mcsam_summary",
    "student_table_3",
    "cmn_figure_3",
    "cmn_figure_4",
    "xpronet_figure_5",
    "xpronet_figure_6",
)
SCORE_WORDS = (
    "Hollow diamonds are printed, dots are ours with their interval, on drawn radiographs: they stand beside each "
    "other and are not comparable."
)
SWEEP_WORDS = (
    "On grey, what the paper prints of it. Where ours is missing the figure says which command would measure it."
)


#: How the tables of the pages were made; a figure of the folder `figures/` says it itself (`ENTRIES`).
STORED = Made(("rrg_lib.experiments.results.results_table",), (RESULTS,), "rrg results")
IN_LEDGER = Made(
    ("rrg_lib.replication.ledger.ledger",), (*PRINTED, "claims.csv", "released_code.csv", RESULTS), "rrg ledger"
)
CONVENTIONS = Made(
    ("rrg_lib.replication.printed_conventions.convention_columns",),
    ("printed_conventions.csv", "published.csv"),
    "rrg ledger",
)
REPORTED = Made(
    ("rrg_lib.replication.replication_report.drawn_reports",),
    (*PRINTED, "claims.csv", "released_code.csv", RESULTS),
    "make site",
)
ASKED_IN = Made(("`tools/exercises.py`",), ("[0-9][0-9]_*.py",), "make site", below="notebooks")
MAPPED = Made(("`tools/equations.py`",), ("equations.csv",), "python tools/equations.py table")


def write(
    out: Path, exercises: Sequence[Exercise], chapters: dict[str, nbformat.NotebookNode], root: Path = ROOT
) -> None:
    """Every made part into `out`, which the pages of `site/` include."""
    out.mkdir(parents=True)
    found = stored_results()
    kept = [result for result in found if result.is_preset]
    rows = ledger(found)
    parts = {
        "results": results([result for result in kept if result.protocol == "tuned"]),
        "all_results": all_results(kept),
        "ledger": ledger_page(rows, found, out),
        "replication": replication_page(found),
        "studies": studies_page(out),
        "exercises": exercise_page(exercises, chapters),
        "equations": equation_page(root),
        "timings": timings_page(root),
        "cite": cite_page(root / "CITATION.cff"),
        "first_figure": first_figure(chapters, out),
        "known": known(rows),
        "explorer": site_explorer.write(out, out.parent / "_static"),
    }
    for name, text in parts.items():
        (out / f"{name}.md").write_text(text, encoding="utf-8")


# --- results and ledger -----------------------------------------------------------------------------------------------


def results(kept: Sequence[StoredResult]) -> str:
    frame = results_table(kept)
    columns = [*(metric.name for metric in metrics_shown("site")), "distinct", "seeds"]
    systems = {
        r.experiment.preset: r.system
        for r in kept
        if r.experiment.dataset == DRAWN_STUDIES and r.labels_at_test in (None, "classifier")
    }
    baselines = {row.name: f"{row.name}: {row.description}" for row in kept[0].evaluation.rows[1:]}
    names = [systems[preset] for preset in FIRST if preset in systems]
    names += [baselines[name] for name in FIRST_BASELINES if name in baselines]
    short = {name: plain(name.removeprefix(f"{DRAWN_STUDIES}/").replace(", laptop", "")) for name in names}
    behind = runs_by_row(kept)
    rows = [[short[name], *(plain(frame.loc[name, column]) for column in columns), behind[name]] for name in names]
    if len(rows) < (wanted := len(FIRST) + len(FIRST_BASELINES)):
        raise SiteError(
            f"data/results: {len(rows)} of the {wanted} rows of the start page are stored; run `make results "
            f"PROFILE=laptop`"
        )
    praised = " and ".join(
        f"**{short[max(names, key=means(kept, score).__getitem__)]}** has the highest {score}"
        for score in ("BLEU-4", FINDING_F1)
    )
    shown = table(
        ["system", *columns, "made by"],
        rows,
        "Test studies of IU-Phantom, `laptop` profile, decoding chosen on validation; brackets are 95 % bootstrap "
        "intervals over studies",
        STORED.fold("table"),
    )
    return f"{shown}\nOf these rows {praised}.\n"


def runs_by_row(kept: Sequence[StoredResult]) -> dict[str, str]:
    """Row of a table of results -> the stored runs behind it, as a cell; of a baseline, the file it stands in."""
    behind = {system: runs(of) for system, of in by_system(kept).items()}
    dataset = kept[0].experiment.dataset
    return behind | {
        f"{row.name}: {row.description}": in_cell(
            "no run", [f"baselines-{dataset}.json`, data set `{kept[0].provenance['identity']['dataset']}"]
        )
        for row in kept[0].evaluation.rows[1:]
    }


def means(kept: Sequence[StoredResult], score: str) -> dict[str, float]:
    """A score by the name of its row in the table of these results: the mean over a system's seeds, and the baselines'
    beside them."""
    seeds: dict[str, list[float]] = {}
    for result in kept:
        seeds.setdefault(result.system, []).append(result.evaluation.scores[score])
    of_baselines = {
        f"{row.name}: {row.description}": row.parts["all"].scores[score] for row in kept[0].evaluation.rows[1:]
    }
    return {system: fmean(scores) for system, scores in seeds.items()} | of_baselines


def all_results(kept: Sequence[StoredResult]) -> str:
    frame, behind = results_table(kept), runs_by_row(kept)
    rows = [
        [*(plain(cell) for cell in (name, *cells)), behind[name]]
        for name, cells in zip(frame.index, frame.to_numpy().tolist(), strict=True)
    ]
    return table(
        ["system", *frame.columns, "made by"],
        rows,
        "Every stored result of a preset, the mean of its seeds, and every report that never looks at an image",
        STORED.fold("table"),
    )


def ledger_page(rows: Sequence[LedgerRow], results: Sequence[StoredResult], out: Path) -> str:
    found = counts(rows)
    given = [verdict for verdict in Verdict if any(of[verdict] for of in found.values())]
    numbers = table(
        ["verdict", "printed values", "claims"],
        [[plain(v.value), *(str(found[k][v]) for k in ("value", "claim"))] for v in given],
        "Verdicts",
        IN_LEDGER.fold("table"),
    )
    main = main_table(rows, results)
    systems = [
        [plain(cell) for cell in (*key, *cells)]
        for key, cells in zip(main.index, main.to_numpy().tolist(), strict=True)
    ]
    texts = [shown(row) for row in rows]
    claimed = [
        [plain(c) for c in (r.paper, r.where, r.statement, r.verdict, r.why, r.released_code)]
        for r in texts
        if r.kind == "claim"
    ]
    values = [
        [plain(c) for c in (r.paper, r.where, r.dataset, r.system, r.metric, r.statement, r.ours, r.verdict, r.why)]
        for r in texts
        if r.kind == "value"
    ]
    words = (
        "What to see: how few bars have a colour. Most of what is printed needs data or a GPU that this book has not "
        "had."
    )
    pictures = [
        saved(
            verdict_counts(found),
            "verdicts",
            "How many printed values and how many claims of the papers got which verdict.",
            words,
            out,
        )
    ]
    for name in DRAWN:
        drawn = paper_figures.draw(name, results).figure
        paper, place = re.fullmatch(r"([a-z]+)_(.+)", name).groups()
        words = SWEEP_WORDS if "figure" in place else SCORE_WORDS
        pictures.append(
            saved(
                drawn,
                name,
                f"{place.replace('_', ' ').capitalize()} of the {paper} paper, printed values and ours.",
                words,
                out,
            )
        )
    index = [*main.index.names, *main.columns]
    columns, counted = convention_columns()
    return "\n\n".join(
        (
            f"{len(values)} printed values and {len(claimed)} claims, each with a verdict.",
            numbers,
            pictures[0],
            "## The systems of this book",
            table(
                [plain(name) for name in index],
                systems,
                "Printed and ours, side by side; *ours* is measured on what its column says",
                IN_LEDGER.fold("table"),
            ),
            *pictures[1:],
            "## Claims",
            table(
                ["paper", "where", "claim", "verdict", "why", "released code"],
                claimed,
                "Every claim of the papers that this book looked at",
                IN_LEDGER.fold("table"),
            ),
            *claims_asked_again(rows),
            "## Printed values",
            table(
                ["paper", "where", "data set", "system", "metric", "printed", "ours", "verdict", "why"],
                values,
                "Every printed value",
                IN_LEDGER.fold("table"),
            ),
            "## Which convention a printed F1 can be",
            READING,
            table(
                columns,
                [[plain(c) for c in cells] for cells in counted],
                "Every printed F1 of findings",
                CONVENTIONS.fold("table"),
            ),
            "\n".join(statement_lines()),
        )
    )


def claims_asked_again(rows: Sequence[LedgerRow]) -> list[str]:
    """What planned studies say of the claims; nothing where no study has results."""
    studies = in_studies(claims(), study_reports(shipped_results()))
    if not studies:
        return []
    frame = study_claims_table(studies)
    cells = [
        [plain(cell) for cell in (*key, *row)] for key, row in zip(frame.index, frame.to_numpy().tolist(), strict=True)
    ]
    header = [*frame.index.names, *frame.columns]
    files = ("claims.csv", "studies/*.toml", "studies/results/*.json")
    made = Made(("rrg_lib.replication.claims_in_studies.in_studies",), files, "rrg ledger").fold("table")
    words = plain(studies_in_words(rows, studies))
    return ["## The same claims in planned studies", words, table(header, cells, "Claims asked again", made)]


def replication_page(results: Sequence[StoredResult]) -> str:
    """The replication reports of what is stored of drawn studies, one a paper, each folded; the banner once, before
    them all."""
    reports = drawn_reports(results)
    bodies = []
    for report in reports:
        once = PageText(NOT_A_REPLICATION, bold=True)
        made = (page_part(part, REPORTED.fold("table")) for part in report.parts()[1:] if part != once)
        bodies.append(f"## {plain(report.paper)}\n\n" + "\n\n".join(filter(None, made)))
    counted = [[plain(report.paper), *(str(report.counts[verdict]) for verdict in Verdict)] for report in reports]
    header = ["paper", *(verdict.short for verdict in Verdict)]
    shown = table(header, counted, "Claims of each paper by verdict", REPORTED.fold("table"))
    return "\n\n".join([f":::{{warning}}\n{NOT_A_REPLICATION}\n:::", shown, *bodies])


def studies_page(out: Path) -> str:
    """Every study of `data/studies`: what it asks, when that was declared and what was run; of those with results the
    picture of its first score and, folded, all tables of its report."""
    bodies = []
    for plan in map(study_plan, known_plans()):
        report, entry = study_report(plan, shipped_results()), ENTRIES[f"study_{plan.name}"]
        made = Made(("rrg_lib.replication.study_report.study_report",), entry.sources, f"rrg study report {plan.name}")
        texts = [page_part(p, "") for p in report.parts() if isinstance(p, PageText) and p.text != report.closing]
        tables = [page_part(part, made.fold("table")) for part in report.parts() if isinstance(part, PageTable)]
        lines = [f"## {plain(plan.title)}", *texts, verdicts_in_words(report, plan.metrics[0])]
        if report.results:
            alt = f"Differences in {plan.metrics[0]} with their margins."
            lines += [systems_in_words(report, verdicts_of(report, plan.metrics[0]))]
            lines += [saved(entry.draw((), None).figure, f"study_{plan.name}", alt, entry.caption, out)]
            lines += [folded("All scores and verdicts", "\n\n".join([*tables, plain(report.closing)]))]
        bodies.append("\n\n".join(lines))
    return "\n\n".join(bodies)


def saved(drawn: Any, name: str, alt: str, words: str, out: Path) -> str:
    """The drawn figure kept in `out`, as Markdown; `name` is that of the folder `figures/`, whose entry says what it is
    made of."""
    drawn.savefig(out / f"{name}.png", dpi=110)
    entry = ENTRIES[name]
    made = Made((entry.function,), entry.sources, f"python tools/figures.py --only {name}")
    return figure(f"/generated/{name}.png", alt, words, made.fold("figure"))


def first_figure(chapters: dict[str, nbformat.NotebookNode], out: Path) -> str:
    """The picture of the start page, with its words: a study and the report that was written of it, as a chapter draws
    it."""
    for name in sorted(chapters):
        for cell in chapters[name].cells:
            drawn = [output.data for output in cell.get("outputs", []) if is_picture(output)]
            if drawn and FIRST_FIGURE in cell.source:
                kind, picture = next((k, v) for k, v in drawn[0].items() if k.startswith("image/"))
                file = f"first.{kind.removeprefix('image/')}"
                (out / file).write_bytes(base64.b64decode(picture))
                words = cell.metadata["mystnb"]
                shown = hashlib.sha256(picture.encode()).hexdigest()[:12]
                chapter = f"[{plain(title(chapters[name]))}](/chapters/{name}.ipynb)"
                made = Made(
                    (f"{chapter}, which shows it too and says more: SHA-256 of the picture `{shown}`",),
                    (),
                    f"make notebooks CHAPTERS={name[:2]}",
                )
                return figure(
                    f"/generated/{file}", words["image"]["alt"], words["figure"]["caption"], made.fold("figure")
                )
    raise SiteError(f"no chapter draws {FIRST_FIGURE}; run `make notebooks`")


def known(rows: Sequence[LedgerRow]) -> str:
    """How many of the claims got which verdict, as a sentence for the start page."""
    claims = counts(rows)["claim"]
    parts = [f"*{verdict.value}* {claims[verdict]}" for verdict in Verdict if claims[verdict]]
    total, answers = sum(claims.values()), "; ".join(parts)
    return f"What is known of {total} claims of the papers: {answers} ([each with its reason](ledger.md)).\n"


# --- exercises, equations ---------------------------------------------------------------------------------------------


def title(notebook: nbformat.NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def exercise_page(exercises: Sequence[Exercise], chapters: dict[str, nbformat.NotebookNode]) -> str:
    lines = [
        [
            f"[{e.id}](#{e.anchor})",
            f"[{plain(title(chapters[e.chapter.stem]))}](/chapters/{e.chapter.stem}.ipynb)",
            str(e.minutes),
            e.asks,
            str(len(e.hints)),
        ]
        for e in exercises
    ]
    total = sum(e.minutes for e in exercises)
    tried = site_python.runnable(exercises) if site_python.package().is_file() else []
    in_pages = (
        f" {len(tried)} of them can be tried in the page of their chapter: {', '.join(e.id for e in tried)}. Python "
        f"runs there as Pyodide {site_python.VERSION} ({site_python.LICENCE}), served by this site."
        if tried
        else ""
    )
    counted = (
        f"{len(exercises)} exercises in {len(chapters)} chapters, about {total / 60:.0f} hours in "
        f"all, "
        f"{sum(len(e.hints) for e in exercises)} hints."
    )
    return (
        counted
        + in_pages
        + "\n\n"
        + table(["exercise", "chapter", "minutes", "it asks", "hints"], lines, "Every exercise", ASKED_IN.fold("table"))
    )


def equation_page(root: Path) -> str:
    """The map as `tools/equations.py` joins it."""
    found = equations.rows(root)
    head = ["paper", "rows", "text at hand", "code", "test", "chapter", "not mapped, with a reason"]
    papers: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        papers.setdefault(row["paper"], []).append(row)
    parts = [
        table(
            head,
            [[plain(c) for c in line] for line in equations.counts(found)],
            "How much of each paper is mapped",
            MAPPED.fold("table"),
        )
    ]
    for paper, own in papers.items():
        lines = [
            [
                row["number"] or "–",
                plain(row["what"]),
                f"${row['printed']}$" if row["printed"] else plain(row["reason"] or "–"),
                plain(row["release"] or "–"),
                plain(row["ours"] or "–"),
                ", ".join(map(code, row["code"])) or "–",
                ", ".join(map(section, row["cells"])) or "–",
                folded_list(row["tests"]),
            ]
            for row in own
        ]
        names = ["Eq.", "what it is", "paper", "release", "ours", "code", "chapter", "tests"]
        parts += [f"## {plain(paper)}", table(names, lines, f"Equations of {plain(paper)}", MAPPED.fold("table"))]
    return "\n\n".join(parts)


def code(owner: str) -> str:
    """ "rrg_lib.models.memory.base:read_slots" as a link to the API's page; what is private there is named without a
    link."""
    full = owner.replace(":", ".")
    short = owner.partition(":")[2] or owner
    private = any(part.startswith("_") for part in full.split("."))
    return f"`{short}`" if private else f"{{py:obj}}`{short} <{full}>`"


def section(cell: str) -> str:
    """ "04_name#4.3" as a link."""
    stem, _, number = cell.partition("#")
    return f"[{number}](#section-{number.replace('.', '-')})" if number else f"[{stem[:2]}](/chapters/{stem}.ipynb)"


def folded_list(tests: Sequence[str]) -> str:
    return ", ".join(f"`{test.partition('::')[2] or test}`" for test in tests) or "–"


# --- timings, citation ------------------------------------------------------------------------------------------------


#: Where the times of the committed outputs are, and, without them, those of the last build of this checkout; and what
#: wrote each.
TIMINGS = {
    "data/timings.json": "the run that made the outputs of these pages (`make notebooks`)",
    "build/book/timings.json": "`make book`",
}


def timings_page(root: Path) -> str:
    """What a build measured of its chapters, and on what machine."""
    found = next(((name, by) for name, by in TIMINGS.items() if (root / name).is_file()), None)
    if found is None:
        return "No build has been measured yet: `make book` measures one and writes it here."
    record = json.loads((root / found[0]).read_text(encoding="utf-8"))
    rows = record["chapters"]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [
        [plain(f"{row[key]:,.1f}" if isinstance(row.get(key), float) else row.get(key, "–")) for key in columns]
        for row in rows
    ]
    facts = [
        f"- {plain(key.replace('_', ' '))}: {plain(said(value))}" for key, value in record.items() if key != "chapters"
    ]
    shown = table(
        [plain(name.replace("_", " ")) for name in columns],
        lines,
        "Chapters, one run; *budget* is what the chapter's own metadata states",
        Made((found[1],), (Path(found[0]).name,), below=str(Path(found[0]).parent)).fold("table", root),
    )
    return "\n\n".join((f"Measured by {found[1]}; read from `{found[0]}`.", shown, "\n".join(facts)))


def said(value: Any) -> str:
    return (
        ", ".join(f"{key.replace('_', ' ')} {part}" for key, part in value.items())
        if isinstance(value, dict)
        else str(value)
    )


def cite_page(path: Path) -> str:
    """This book and the papers it is about, as `CITATION.cff` has them."""
    about = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = [("This book", about, "misc"), *((ref["title"], ref, bibtex_kind(ref)) for ref in about["references"])]
    parts = [about["message"]]
    for heading, entry, kind in entries:
        parts += [f"## {plain(heading)}", sentence(entry), folded("BibTeX", f"```bibtex\n{bibtex(entry, kind)}\n```")]
    return "\n\n".join(parts)


def people(entry: dict[str, Any], joined: str) -> str:
    return joined.join(who.get("name") or f"{who['given-names']} {who['family-names']}" for who in entry["authors"])


def venue(entry: dict[str, Any]) -> str:
    return entry.get("journal") or entry.get("collection-title") or f"version {entry['version']}"


def sentence(entry: dict[str, Any]) -> str:
    when = f" {entry['year']}" if entry.get("year") and str(entry["year"]) not in venue(entry) else ""
    return f"{plain(people(entry, ', '))}. *{plain(entry['title'])}*. {plain(venue(entry))}{when}."


def bibtex_kind(entry: dict[str, Any]) -> str:
    return "article" if entry["type"] == "article" else "inproceedings"


def bibtex(entry: dict[str, Any], kind: str) -> str:
    first = entry["authors"][0]
    key = re.sub(r"\W", "", first.get("family-names", "rrgbook").lower()) + str(entry.get("year", ""))
    place = {"article": "journal", "inproceedings": "booktitle"}.get(kind, "note")
    fields = {
        "title": f"{{{entry['title']}}}",
        "author": people(entry, " and "),
        place: venue(entry),
        "year": str(entry.get("year", "")),
    }
    return f"@{kind}{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value) + "}"
