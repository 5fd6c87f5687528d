"""Where the project keeps what it makes: prepared data, extractors, cached features, runs. And how a file is written
whole or not at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rrg_lib.errors import StorageError

#: The empty file by which whoever makes something in a folder keeps others waiting.
LOCK = ".lock"
#: In the name of a half-written file: the machine on which it is written. The process follows.
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


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

    A symbolic link is followed: what it leads to is replaced, and it stays. A device or a pipe (`/dev/stdout`) is never
    replaced but written to, once everything is there. What a killed writer of the same file left beside it is removed.

    Raises `StorageError` naming the file when the disk is full or not writable; `path` is then as it was before.
    """
    path = Path(path)
    if _is_stream(path):
        with _written_through(path) as temporary:
            yield temporary
        return
    temporary = None
    try:
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        writer = f".{path.name}.{_MACHINE}-{os.getpid()}-"
        handle, name = tempfile.mkstemp(prefix=writer, suffix=".part", dir=path.parent)
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


def _is_stream(path: Path) -> bool:
    """A device, a pipe, or a name that the system gives to what a process has open."""
    with suppress(OSError):
        mode = path.stat().st_mode
        known = path.absolute().parts[1:2] in (("dev",), ("proc",)) and path.is_symlink()
        return known or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


@contextmanager
def _written_through(path: Path) -> Iterator[Path]:
    """A temporary file whose content then goes into the stream `path`."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            with (
                open(temporary, "rb") as content,
                open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb", buffering=0) as stream,
            ):
                while block := content.read(1 << 20):
                    while block:  # a pipe may take a part of it
                        block = block[stream.write(block) :]
    except OSError as error:
        raise StorageError(
            f"could not write to {path}: {error.strerror or error}. It is no regular file; choose one, then run again."
        ) from error


def _remove_abandoned(path: Path) -> None:
    """Takes away what writers of `path` left that were killed on this machine. Those that live, and other machines'
    on a shared disk, are left alone."""
    import psutil  # only who writes needs it

    beginning = f".{path.name}."
    for part in path.parent.glob(f"{glob.escape(beginning)}{_MACHINE}-*-*.part"):
        number = part.name.removeprefix(beginning).split("-")[1]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, written whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` to fill; on success it takes the place of `folder`, on failure it is removed and
    `folder` stays as it was.

    Raises `StorageError` naming the folder when the disk is full or not writable.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            (made := Path(scratch) / "made").mkdir()
            yield made
            if folder.exists():
                os.replace(folder, Path(scratch) / "before")
            os.replace(made, folder)
    except OSError as error:
        raise StorageError(
            f"could not write {error.filename or folder}: {error.strerror or error}. {folder} was not changed; free "
            f"some space or choose another folder with --out, then run again."
        ) from error


#: Seconds after which who waits for a lock says so.
_LOOKS_AGAIN = 0.5


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """One that makes something in `folder` at a time: a second one waits, says so in a terminal, and then finds the
    work done; without `wait` it is refused. The lock ends with the process, however that ends; a folder in which
    nothing was made is taken away again. Raises `StorageError` when the folder cannot be made, or is in use."""
    from filelock import FileLock, Timeout  # loads asyncio, and most who ask for the workspace never lock

    lock = FileLock(folder / LOCK)
    told = not sys.stderr.isatty()  # a page that is being made keeps what it says; a person wants to know
    try:
        while not lock.is_locked:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=_LOOKS_AGAIN if wait else 0)
            except FileNotFoundError:  # who held it made nothing and took the folder away
                continue
            except Timeout:
                if not wait:
                    raise
                if not told:
                    print(f"{folder} is in use by another process: waiting until that has ended", file=sys.stderr)
                told = True
    except Timeout:
        raise StorageError(
            f"{folder} is in use: another process works in it. Wait until that has ended, or choose another folder "
            f"(--run FOLDER)"
        ) from None
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
