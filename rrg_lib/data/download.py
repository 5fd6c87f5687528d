"""Files from the network, for those who have one: resumed where a connection broke, checked against a recorded SHA-256,
whole or not there at all. And archives from elsewhere: looked through before anything is unpacked, and unpacked whole
or not at all."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from rrg_lib.errors import DownloadError, StorageError
from rrg_lib.runtime.hashing import file_sha256
from rrg_lib.runtime.workspace import write_json

#: What was recorded of files fetched before, in the folder they are in.
CHECKSUMS = "checksums.json"
_CHUNK = 2**20
_LOCAL = ("localhost", "127.0.0.1", "::1")
#: The most that an archive may unpack to, in files and bytes: the largest of the collections has 7,470 films of some
#: 180 KB.
MAX_FILES, MAX_BYTES = 100_000, 64 * 2**30
_DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error)


@dataclass(frozen=True)
class Fetching:
    """How patiently: tries that may bring nothing in a row, seconds a try may be silent, seconds of the first wait
    (doubled each time)."""

    tries: int = 6
    timeout: float = 60.0
    wait: float = 1.0


PATIENT = Fetching()


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    how: Fetching = PATIENT,
    progress: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Fetches `url` to `path` and gives its SHA-256. A file that is there and has the recorded hash is kept.

    What arrived of a broken connection stays in `PATH.part` and is gone on with, as long as the server says that it is
    the same file still. The hash must be `sha256`, or where none is given the one recorded when the file was first
    fetched; the first time it is recorded.

    Raises:
        DownloadError: no network (told at once), no connection, a web page instead of the file, another hash or length;
            names the address and what to do.
        StorageError: the disk is full or not writable. What arrived stays.
    """
    if (scheme := urlsplit(url).scheme) != "https" and not (scheme == "http" and urlsplit(url).hostname in _LOCAL):
        raise DownloadError(f"{url}: expected an address that begins with https://")
    checksums = path.parent / CHECKSUMS
    recorded = json.loads(checksums.read_text(encoding="utf-8")) if checksums.is_file() else {}
    expected = sha256 or recorded.get(path.name)
    if path.is_file() and (digest := file_sha256(path)) == (
        expected or digest
    ):  # one that the user put there is taken as the first one
        write_json(checksums, recorded | {path.name: digest})
        return digest
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _complete(url, part, how, progress, sleep)
        digest = file_sha256(part)
        if expected and digest != expected:
            part.unlink()
            _note(part).unlink(missing_ok=True)
            raise DownloadError(
                f"{url}: what came has the SHA-256 {digest}, expected {expected}. It was deleted. Run again; if that "
                "does not help, the file was changed or the connection is not to be trusted (a hash recorded here "
                f"before stands in {checksums})"
            )
        write_json(checksums, recorded | {path.name: digest})
        part.replace(path)
        _note(part).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"could not write {part}: {error.strerror or error}. What arrived stays; free some space, then run again"
        ) from error
    return digest


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _complete(url: str, part: Path, how: Fetching, progress: bool, sleep: Callable[[float], None]) -> None:
    """Asks until `part` is whole. Tries count while there is not more of it than there ever was."""
    barren, wait = 0, how.wait
    most = part.stat().st_size if part.exists() else 0
    while True:
        try:
            if _receive(url, part, how.timeout, progress):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise DownloadError(
                    f"{url}: the server answered {error.code} {error.reason}. Look at the address in a browser"
                ) from error
            reason = f"the server answered {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
            if not most and isinstance(
                getattr(error, "reason", None), socket.gaierror
            ):  # begun already, it would be worth a wait
                raise DownloadError(
                    f"{url}: {urlsplit(url).hostname} is not known here ({reason}); is there a network? Or fetch the "
                    f"file elsewhere and put it at {part.with_suffix('')}: it is taken from there"
                ) from error
        has = part.stat().st_size if part.exists() else 0
        barren, wait = (0, how.wait) if has > most else (barren + 1, wait)
        most = max(most, has)
        if barren >= how.tries:
            kept = f" {has:,} bytes are kept in {part}; run again to go on" if has else " Run again later"
            raise DownloadError(f"{url}: {reason}, {barren} times with nothing new.{kept}")
        sleep(wait)
        wait *= 2


def _receive(url: str, part: Path, timeout: float, progress: bool) -> bool:
    """One connection; whether the file is whole now."""
    kept = json.loads(_note(part).read_text(encoding="utf-8")) if _note(part).is_file() else {}
    have = part.stat().st_size if part.exists() and kept.get("url") == url else 0
    headers = {"User-Agent": "rrg-book", "Accept-Encoding": "identity"}
    if have and kept.get("tag"):
        headers |= {"Range": f"bytes={have}-", "If-Range": kept["tag"]}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink(missing_ok=True)  # more is here than the server has: another file
        return False
    with response:
        if urlsplit(response.url).scheme != urlsplit(url).scheme:
            raise DownloadError(f"{url}: leads to {response.url}, which is not encrypted. Nothing was fetched")
        if "text/html" in response.headers.get("Content-Type", ""):
            raise DownloadError(
                f"{url}: the server sent a web page instead of the file (a login, or a note that it has moved?). Open "
                f"it in a browser"
            )
        start = _start(response, have)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total and total - start > (free := shutil.disk_usage(part.parent).free):
            raise StorageError(
                f"{url} has {total - start:,} bytes to come and {part.parent} has {free:,} left. Free some space, then "
                f"run again"
            )
        write_json(
            _note(part), {"url": url, "tag": response.headers.get("ETag") or response.headers.get("Last-Modified")}
        )
        with open(part, "r+b" if start else "wb") as file, _bar(part, total, start, progress) as bar:
            file.seek(start)
            file.truncate()
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            size = file.tell()
    return size == total if total is not None else True


def _start(response: http.client.HTTPResponse, have: int) -> int:
    """Where what comes belongs: at `have`, if the server goes on there, else at 0."""
    if response.status != 206:
        return 0
    given = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    if given != str(have):
        raise http.client.HTTPException(f"asked to go on at byte {have}, the server goes on at {given or 'nowhere'}")
    return have


def _bar(part: Path, total: int | None, start: int, progress: bool) -> tqdm:
    name = part.name.removesuffix(".part")
    return tqdm(total=total, initial=start, desc=f"fetch {name}", unit="B", unit_scale=True, disable=not progress)


# --- archives ---------------------------------------------------------------------------------------------------------


def unpack(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Unpacks a tar archive, compressed or not, to `folder`, which must not exist.

    Every member is looked at first: files and folders alone, every path relative and below the folder, none twice.

    Raises:
        DownloadError: cut short or damaged, or a member that is none of these; names it. Nothing is unpacked.
        StorageError: no space, or not writable. Nothing is left.
    """
    members = _checked(archive, max_bytes)
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(member.size for member in members), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise StorageError(
            f"{archive} unpacks to {needed:,} bytes and {folder.parent} has {free:,} left. Free some space, then run "
            f"again"
        )
    for left in folder.parent.glob(f".{folder.name}.*.unpacking"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(suffix=".unpacking", prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(beside, members=members, filter="data")
        beside.chmod(0o755)
        os.rename(beside, folder)
    except tarfile.TarError as error:
        raise DownloadError(f"{archive}: could not be unpacked ({error}). Delete it, then run again") from error
    except OSError as error:
        raise StorageError(
            f"could not unpack {archive} to {folder}: {error.strerror or error}. Free some space, then run again"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _checked(archive: Path, max_bytes: int) -> list[tarfile.TarInfo]:
    members, names, size = [], set(), 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path, size = PurePosixPath(member.name), size + member.size
                if not (member.isfile() or member.isdir()):
                    raise DownloadError(
                        f"{archive}: {member.name!r} is neither a file nor a folder; nothing was unpacked. Delete the "
                        f"archive"
                    )
                if (
                    path.is_absolute()
                    or ".." in path.parts
                    or "\\" in member.name
                    or ":" in member.name
                    or "\0" in member.name
                ):
                    raise DownloadError(
                        f"{archive}: {member.name!r} leads out of its folder; nothing was unpacked. Delete the archive"
                    )
                if path in names and member.isfile():
                    raise DownloadError(
                        f"{archive}: {member.name!r} is there twice; nothing was unpacked. Delete the archive"
                    )
                names.add(path)
                if len(names) > MAX_FILES or size > max_bytes:
                    raise DownloadError(
                        f"{archive}: unpacks to more than {MAX_FILES:,} files or {max_bytes:,} bytes; nothing was "
                        f"unpacked. Delete it"
                    )
                members.append(member)
    except _DAMAGED as error:
        raise DownloadError(
            f"{archive}: is cut short, damaged, or no archive ({error}). Delete it, then run again"
        ) from error
    return members
