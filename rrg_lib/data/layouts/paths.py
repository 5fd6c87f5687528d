"""Paths that come from other people's files: none of them leaves its root. And what to say of a folder that is not what
it should be."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from rrg_lib.errors import AnnotationError


def check_inside(name: str, path: str, root: Path) -> None:
    """Refuses a path that is absolute, climbs, or leads out of `root` by a link. `root` is resolved already; `name`
    says where the path stands.

    Raises `AnnotationError` naming `name` and the path.
    """
    plain, windows = PurePosixPath(path), PureWindowsPath(path)
    if plain.is_absolute() or windows.is_absolute() or windows.drive or "\0" in path:
        raise AnnotationError(f"{name} {path!r} is absolute; expected a path relative to {root}. Change the entry")
    if ".." in plain.parts or ".." in windows.parts:
        raise AnnotationError(f"{name} {path!r} climbs out with '..'; expected a path below {root}. Change the entry")
    target = (root / path).resolve()
    if not target.is_relative_to(root):
        raise AnnotationError(f"{name} {path!r} is a link to {target}, outside {root}. Copy the image there instead")


def with_slashes(path: str, root: Path) -> str:
    """A path as it stands in a table of Windows, as one that is below `root`; another spelling of the same file
    (`./a.png`, `films//a.png`) in its one form. One that is right as it is stays."""
    if "\\" in path and "\0" not in path and not (root / path).exists():
        path = path.replace("\\", "/")
    return path if PurePosixPath(path).is_absolute() or not path else PurePosixPath(path).as_posix()


def listing(folder: Path, most: int = 8) -> str:
    """In words, what is at `folder` instead of what was looked for."""
    if not folder.exists():
        near = folder.parent
        return (
            f"the folder does not exist; {near} holds: {_names(near, most)}"
            if near.is_dir()
            else "the folder does not exist"
        )
    if not folder.is_dir():
        return "it is a file, not a folder"
    return f"there is: {_names(folder, most)}"


def _names(folder: Path, most: int) -> str:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "") if names else "nothing"
