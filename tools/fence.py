"""Starts a command that may read what it is allowed to and write into one folder, with a limit to its memory.

    python tools/fence.py plan.json python -m ipykernel_launcher -f connection.json

The plan says `folder` (read and written), `start` (where in it the command starts), `readable` (read, and run),
`listable` (names alone: Python looks into the folders of its path) and `memory` (bytes a process may ask for). Files
are fenced by Landlock, Linux's own, without rights of an administrator; where a system has none (`available`), only the
limits hold. The network is not fenced.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

#: The three system calls have these numbers on every processor (linux/landlock.h is the source of the rest).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_NO_NEW_PRIVILEGES = 38
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
#: Rights known to each version of Landlock, and those that a file, which is no folder, can have.
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
#: Signals to processes outside, and their abstract sockets, from version 6.
_SCOPES = 3
#: What any program of the system reads; and the devices that are written to.
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt/java", "/proc", "/sys")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm", "/dev/tty")
#: The largest file that is written.
FILE_BYTES = 2**30


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _call(number: int, *inputs) -> int:
    result = ctypes.CDLL(None, use_errno=True).syscall(number, *inputs)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def available() -> int:
    """The version of Landlock; 0 where the system has none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    except OSError:
        return 0


def fence(folder: Path, readable: Iterable[Path], listable: Iterable[Path]) -> None:
    """From here on this process, and all that it starts, reads and writes what it is allowed to, and nothing else. It
    can't be undone. Raises `OSError` where the system has no Landlock."""
    version = available()
    known = _KNOWN.get(version, (1 << 16) - 1)
    rules = _Ruleset(known, 0, _SCOPES if version >= 6 else 0)
    size = ctypes.sizeof(rules) if version >= 6 else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    seen = _EXECUTE | _READ_FILE | _READ_DIR
    allowed = [
        *((path, seen) for path in (*SYSTEM, *readable)),
        *((path, _READ_DIR) for path in listable),
        *((path, seen | _WRITE_FILE | _IOCTL) for path in DEVICES),
        ("/dev/shm", known),
        (folder, known),
    ]
    for path, rights in allowed:
        if not os.path.exists(path):
            continue
        rights &= known if os.path.isdir(path) else known & _OF_FILES
        if not rights:
            continue
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        beneath = _Beneath(rights, handle)
        _call(_ADD_RULE, ruleset, ctypes.c_int(_PATH_BENEATH), ctypes.byref(beneath), ctypes.c_uint32(0))
        os.close(handle)
    if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    _call(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    os.close(ruleset)


def main(argv: list[str]) -> None:
    import resource  # not on Windows, where there is no fence either

    plan = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    os.chdir(plan["start"])
    if sys.platform == "linux":  # elsewhere the limit is not kept, or can't be set
        resource.setrlimit(resource.RLIMIT_DATA, (plan["memory"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES,) * 2)
    if available():
        fence(plan["folder"], plan["readable"], plan["listable"])
    os.execv(argv[1], argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
