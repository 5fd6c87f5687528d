"""A page as data says the same as Markdown and as HTML, and nothing in it is taken for markup."""

from __future__ import annotations

from html.parser import HTMLParser

from rrg_lib.runtime.document import (
    PageHeading,
    PageList,
    PagePicture,
    PageTable,
    PageText,
    page_html,
    page_markdown,
)

PAGE = (
    PageHeading(1, "A <b> page"),
    PageText("No replication.", bold=True),
    PageList(("one\nline", "a & b")),
    PageTable("Scores", ("system", "BLEU-4"), (("cmn | base", "0.170"), ("<script>", "–"))),
    PagePicture("figure.png", "dots & diamonds"),
)


class _Read(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data.strip())


def test_html_shows_every_text_as_it_is_and_fetches_nothing():
    read = _Read()
    read.feed(page_html(PAGE))
    assert {"A <b> page", "No replication.", "a & b", "cmn | base", "<script>", "Scores"} <= set(read.text)
    tags = [tag for tag, _ in read.tags]
    assert tags.count("td") == 4 and tags.count("th") == 2 and not {"script", "link", "b"} & set(tags)
    assert [attributes["src"] for tag, attributes in read.tags if tag == "img"] == ["figure.png"]


def test_markdown_keeps_a_cell_a_cell_and_a_point_a_line():
    text = page_markdown(PAGE)
    assert text.startswith("# A <b> page\n\n**No replication.**\n\n- one line\n- a & b\n\n")
    assert "cmn \\| base" in text and "*Scores*" in text and "![dots & diamonds](figure.png)" in text
