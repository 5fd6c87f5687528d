"""The library's pages: one a package, its modules in order, all from docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

from site_text import plain

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = "rrg_lib"


def write(out: Path, root: Path = ROOT) -> list[str]:
    """A page for each package of the library and an index; the names of all modules."""
    packages: dict[str, list[str]] = {}
    for path in sorted((root / LIBRARY).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        package = ".".join(parts[:-1])
        packages.setdefault(package, []).append(package if parts[-1] == "__init__" else ".".join(parts))
    out.mkdir(parents=True)
    index = [
        "# The library",
        "",
        f"`{LIBRARY}`, from its docstrings. Chapters import it; it knows nothing of them.",
        "",
    ]
    for package, modules in packages.items():
        (out / f"{package}.md").write_text(page(package, modules, root), encoding="utf-8")
        index.append(f"- [`{package}`]({package}.md): {plain(first_line(package, root))}")
    index += ["", "```{toctree}", ":hidden:", "", *packages, "```", ""]
    (out / "index.md").write_text("\n".join(index), encoding="utf-8")
    return [module for modules in packages.values() for module in modules]


def page(package: str, modules: list[str], root: Path) -> str:
    lines = [f"# {package}", ""]
    for module in sorted(modules, key=lambda name: (name != package, name)):
        lines += [f"## {module}", ""] if module != package else []
        lines += [
            "```{eval-rst}",
            f".. automodule:: {module}",
            *(["   :no-members:"] if is_facade(module, root) else []),
            "```",
            "",
        ]
    return "\n".join(lines)


def source(module: str, root: Path) -> Path:
    path = root / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_facade(module: str, root: Path) -> bool:
    """Whether it only passes on names of its parts, which have their own places."""
    tree = ast.parse(source(module, root).read_text(encoding="utf-8"))
    return not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)


def first_line(module: str, root: Path) -> str:
    text = ast.get_docstring(ast.parse(source(module, root).read_text(encoding="utf-8")))
    return (text or module).splitlines()[0]
