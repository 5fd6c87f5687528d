"""Where the project keeps what it makes: prepared data, extractors, cached features, runs. And how a file is written
whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rrg_lib.errors import StorageError

#: The empty file by which whoever makes something in a folder keeps others waiting.
LOCK = ".lock"


def workspace() -> Path:
    """The folder of everything made: `$RRG_HOME`, else `build/` of the checkout the current folder is in, else
    `./build`."""
    if home := os.environ.get("RRG_HOME"):
        return Path(home).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "rrg_lib").is_dir() and (folder / "notebooks").is_dir():
            return folder / "build"
    return here / "build"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it replaces `path` in one step, on failure it is removed.

    Raises `StorageError` naming the file when the disk is full or not writable; `path` is then as it was before.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; ours are as readable as any other
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(
            f"could not write {path}: {error.strerror or error}. Nothing was changed; free some space or choose "
            f"another folder, then run again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, written whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One that makes something in `folder` at a time: a second one waits, then finds the work done. The lock ends with
    the process, however that ends; a folder in which nothing was made is taken away again. Raises `StorageError` when
    the folder cannot be made."""
    from filelock import FileLock  # loads asyncio, and most who ask for the workspace never lock

    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"could not make the folder {folder}: {error.strerror or error}. Choose another one"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            if [path.name for path in folder.iterdir()] == [LOCK]:  # a refused request leaves no trace
                (folder / LOCK).unlink()
        lock.release()
        with suppress(OSError):
            folder.rmdir()
