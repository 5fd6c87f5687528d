"""A page as data, headings, texts, lists, tables and pictures, and the same page as Markdown and as HTML: what is
written once can be read in a terminal, in a browser and on the site."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from rrg_lib.runtime.markdown import markdown_table

#: The look of a page that stands alone: nothing is fetched.
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto;margin:1rem 0}caption{text-align:left;font-style:italic}
td,th{border:1px solid #bbb;padding:.25rem .5rem;text-align:left;vertical-align:top}th{background:#eee}
img{max-width:100%}"""


@dataclass(frozen=True)
class PageHeading:
    """A heading; the page's own is of level 1."""

    level: int
    text: str

    def markdown(self) -> list[str]:
        return ["#" * self.level + " " + self.text]

    def html(self) -> str:
        return f"<h{self.level}>{escape(self.text)}</h{self.level}>"


@dataclass(frozen=True)
class PageText:
    """A paragraph, shown in bold where it must not be missed."""

    text: str
    bold: bool = False

    def markdown(self) -> list[str]:
        return [f"**{self.text}**" if self.bold else self.text]

    def html(self) -> str:
        return f"<p><strong>{escape(self.text)}</strong></p>" if self.bold else f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class PageList:
    """Points, one a line."""

    points: tuple[str, ...]

    def markdown(self) -> list[str]:
        return [f"- {' '.join(point.split())}" for point in self.points]

    def html(self) -> str:
        return "<ul>\n" + "\n".join(f"<li>{escape(point)}</li>" for point in self.points) + "\n</ul>"


@dataclass(frozen=True)
class PageTable:
    """A table of texts with a caption that says what it is of."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> list[str]:
        return [*markdown_table(self.header, self.rows), "", f"*{self.caption}*"]

    def html(self) -> str:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.header)
        body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        return (
            f"<table>\n<caption>{escape(self.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n"
            f"</tbody>\n</table>"
        )


@dataclass(frozen=True)
class PagePicture:
    """A picture in a file beside the page, and what is to be seen."""

    file: str
    words: str

    def markdown(self) -> list[str]:
        return [f"![{self.words}]({self.file})"]

    def html(self) -> str:
        return f'<p><img src="{escape(self.file)}" alt="{escape(self.words)}"></p>'


PagePart = PageHeading | PageText | PageList | PageTable | PagePicture


def page_markdown(parts: Iterable[PagePart]) -> str:
    """The page as Markdown."""
    return "\n\n".join("\n".join(part.markdown()) for part in parts) + "\n"


def page_html(parts: Sequence[PagePart]) -> str:
    """The page as one HTML file that fetches nothing; its title is the first heading."""
    title = next((part.text for part in parts if isinstance(part, PageHeading)), "")
    body = "\n".join(part.html() for part in parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
