"""Sphinx's settings. `make site` copies this folder, adds the chapters and what is made of data, and builds that copy:
nothing is executed."""

import inspect
import re

project = "Cross-modal memory for radiology report generation"
author = "The authors of rrg-book"
copyright = "the authors of rrg-book (see How to cite). Code Apache-2.0, prose and figures CC BY 4.0"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["generated/*.md"]

# --- chapters: the committed outputs are the book ---
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_ipywidgets_js = {}  # by default from a content network
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "attrs_inline"]
myst_update_mathjax = False
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

# --- mathematics: MathJax comes from a package and is served with the pages ---
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {
    "options": {
        "processHtmlClass": "tex2jax_process|mathjax_process|math|output_area",
        "ignoreHtmlClass": "tex2jax_ignore",
        "enableMenu": False,
    }
}

# --- the library's pages ---
autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource", "no-value": True}
autodoc_typehints = "none"  # shapes are in the docstrings; types are in the code
autodoc_preserve_defaults = True
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
nitpicky = True
# Bases and annotations of other packages: their documentation is not on this machine.
nitpick_ignore_regex = [
    ("py:.*", r"rrg_lib\..*\._\w+|Module"),  # private bases have no page; torch's Module is called so in annotations
    (
        "py:.*",
        r"(torch|numpy|pandas|matplotlib|PIL|typing|typer|click|collections|pathlib|enum|abc|builtins|annotated_types|pycocoevalcap)\b.*",
    ),
]

# --- the look ---
html_theme = "sphinx_book_theme"
html_title = "Cross-modal memory"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("tables.js", {"defer": "defer"}), ("exercises.js", {"defer": "defer"})]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_use_index = False  # the search finds more
html_domain_indices = False
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search stands in the sidebar
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "search_bar_text": "Search the book",
}
templates_path = []

_CODE = re.compile(r"``[^`]+``|`[^`]+`")
_SECTION = re.compile(r"(?m)^(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):$")


def as_plain_text(app, what, name, obj, options, lines):
    """Docstrings of this library are plain text with `code` between backticks: no star, bar or underscore in them is
    markup. A paragraph that is indented is shown as it stands."""
    made, sections = [], False
    for paragraph in "\n".join(lines).split("\n\n"):
        sections = sections or bool(_SECTION.search(paragraph))
        shown = paragraph.strip() and not sections and all(line.startswith("    ") for line in paragraph.splitlines())
        made += ["::", paragraph] if shown else [_escaped(paragraph)]
    if what in ("attribute", "data", "property"):
        made.insert(0, "..")  # an empty comment: else napoleon takes the words before the first colon for a type
    lines[:] = "\n\n".join(made).split("\n")


def _escaped(text):
    out, end = [], 0
    for match in _CODE.finditer(text):
        out += [_without_markup(text[end : match.start()]), f"``{match[0].strip('`')}``"]
        end = match.end()
    return "".join([*out, _without_markup(text[end:])])


def _without_markup(text):
    return re.sub(r"[\\*|`]|(?<=\w)_(?!\w)", lambda match: "\\" + match[0], text)


def shorter_signature(app, what, name, obj, options, signature, returns):
    """A dataclass shows its fields below, so its signature would only repeat them; a default that is computed is no
    constant to print."""
    if inspect.isclass(obj) and hasattr(obj, "__dataclass_fields__"):
        return "(...)", returns
    return (re.sub(r"=[^=,]*? if [^=]*? else [^,)]*", "=...", signature), returns) if signature else None


def setup(app):
    app.connect("autodoc-process-docstring", as_plain_text, priority=100)  # before napoleon's
    app.connect("autodoc-process-signature", shorter_signature)
