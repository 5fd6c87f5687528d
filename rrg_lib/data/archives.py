"""Archives from elsewhere: looked through before anything is unpacked, and unpacked whole or not at all."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from rrg_lib.errors import DownloadError, StorageError

#: The most that an archive may unpack to, in files and bytes: the largest of the collections has 7,470 films of some
#: 180 KB.
MAX_FILES, MAX_BYTES = 100_000, 64 * 2**30
_DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error)


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
