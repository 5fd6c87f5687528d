"""What this machine offers the book, what it lacks, and what to do: `rrg doctor` without a folder.

Every check looks and tells; none installs, downloads or leaves a file. Heavy packages are imported in a process of
their own, so that one which takes Python down with it (a build for another processor) is named instead.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rrg_lib.book.edition import CHECKOUT, LOCK, PACKAGE, installed, normalised, read_lock
from rrg_lib.errors import ConfigurationError, EditionError, JavaError
from rrg_lib.runtime.threads import POLICY
from rrg_lib.runtime.workspace import workspace

GIB = 2**30
#: GiB below which `make book` is told to stop, and below which it is warned. Drawn studies, features and runs of the ci
#: profile take some 2 GiB.
DISK_GIB = (2, 5)
#: The same of memory. The chapters state their own peaks; METEOR's Java takes its part of them.
MEMORY_GIB = (2, 4)
IMPORT_SECONDS = 300
#: From this share of all processors on a machine is busy, looked at for so long.
BUSY_PERCENT, LOOK_SECONDS = 50, 1.0
_WORDS = ("ok", "warning", "stop")
_INSTALL = "In the book's folder run: make install"
#: Control groups, version 2 and 1: what a container may use, where that is less than the machine has.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
#: Says which module it is about to import, then what went wrong with it: the last one named when the process dies is
#: the culprit.
_IMPORTING = """
import importlib, sys, warnings
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    print("trying", name, flush=True)
    try:
        importlib.import_module(name)
    except Exception as error:
        print("fault", name, type(error).__name__ + ":", *str(error).split(), flush=True)
"""


@dataclass(frozen=True)
class Check:
    """One thing looked at: its state, and what to do about it. `level` is 0 when it will do, 1 when something will
    go less well, 2 when `make book` can't be run; advice at level 0 is a remark."""

    name: str
    state: str
    level: int = 0
    advice: str = ""

    def __str__(self) -> str:
        return f"{_WORDS[self.level]:<8} {self.name:<10} {self.state}" + (
            f"\n{'':<20}{self.advice}" if self.advice else ""
        )


@dataclass(frozen=True)
class Environment:
    """What `examine_environment` found. `status` is for scripts: 0 ready, 1 usable but something is wrong, 2 not
    usable."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> int:
        return max(check.level for check in self.checks)

    def __str__(self) -> str:
        words = (
            "ready. Run: make book",
            "usable as it is, see above. Run: make book",
            "not usable as it is, see above",
        )[self.status]
        return "\n".join([*map(str, self.checks), "", words])


def examine_environment() -> Environment:
    """Looks at Python, the edition and its packages, PyTorch and its device, Java, memory, disk and the folder of
    everything made. Takes some seconds: everything the library needs is imported once."""
    needed = packages()
    usable = needed.level < 2  # a PyTorch that can't be imported is told once
    return Environment(
        (
            python(),
            edition(),
            needed,
            lock(),
            *((device(), java()) if usable else ()),
            memory(),
            disk(),
            writing(),
            load(),
        )
    )


def python(version: tuple[int, ...] = sys.version_info[:3], bits: int = 64 if sys.maxsize > 2**32 else 32) -> Check:
    """Python 3.11 or newer, of 64 bits: there is no PyTorch for others."""
    state = f"{'.'.join(map(str, version))}, {bits} bits, {platform.system()} {platform.machine()}"
    if version < (3, 11) or bits < 64:
        return Check(
            "Python",
            state,
            2,
            "Python 3.11 or newer of 64 bits is needed; then, in the book's folder: make install PYTHON=python3.12",
        )
    return Check("Python", state)


def edition(checkout: Path = CHECKOUT) -> Check:
    """The installed edition; where the library runs from the book's folder, whether that folder has moved on since it
    was installed."""
    try:
        there = installed()
    except EditionError as error:
        return Check("edition", str(error), 2)
    source = checkout / "pyproject.toml"
    if (
        source.is_file()
        and (written := tomllib.loads(source.read_text(encoding="utf-8"))["project"]["version"]) != there
    ):
        return Check("edition", f"{there} is installed, and the book's folder holds {written}", 1, _INSTALL)
    return Check("edition", there)


def packages(required: Iterable[str] | None = None) -> Check:
    """Every package that the library names is there, in the range it names, and can be imported."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in (metadata.requires(PACKAGE) or () if required is None else required)]
    except metadata.PackageNotFoundError:
        return Check("packages", f"what {PACKAGE} needs is not known: it is not installed", 2, _INSTALL)
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong, there = [], []
    for one in wanted:
        try:
            number = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if one.specifier.contains(number, prereleases=True):
            there.append(one.name)
        else:
            wrong.append(f"{one.name} {number} is installed, {one.specifier} is needed")
    wrong += import_faults(there)
    if wrong:
        return Check("packages", "; ".join(wrong), 2, _INSTALL)
    return Check("packages", f"{len(wanted)} of {len(wanted)} are there and can be imported")


def import_faults(names: Sequence[str]) -> list[str]:
    """What is wrong with importing these distributions, one after another in one process of its own."""
    modules = [module for name in names if (module := _module(name))]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _IMPORTING, *modules],
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        lines, ended = done.stdout.splitlines(), f"ended Python with {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        lines, ended = _text(error.stdout).splitlines(), f"took more than {IMPORT_SECONDS} s"
    events = [
        line.split(" ", 2) for line in lines if line.startswith(("trying ", "fault "))
    ]  # packages print things of their own
    faults = [f"{name} can't be imported ({message[0][:160]})" for kind, name, *message in events if kind == "fault"]
    return [*faults, f"importing {events[-1][1]} {ended}"] if ended and events else faults


def _module(name: str) -> str | None:
    """The module to import for a distribution: of those it installs the one that is called like it, else the first."""
    about = metadata.distribution(name)
    tops = set((about.read_text("top_level.txt") or "").split())
    if not tops:  # not every builder writes that file
        files = about.files or ()
        tops = {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"}
    tops = sorted(top for top in tops if top.isidentifier() and not top.startswith("_"))
    alike = [top for top in tops if normalised(top) == normalised(name)]
    return next(iter([*alike, *tops]), None)


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def lock(path: Path = LOCK) -> Check:
    """How the installed versions compare with those the edition was made with. Others within the ranges are allowed, so
    this is a remark."""
    if not path.is_file():
        return Check("versions", "there is no lock to compare with: the library does not run from the book's folder")
    others, entries = [], [entry for entry in read_lock(path) if entry.applies]
    for entry in entries:
        try:
            there = metadata.version(entry.name)
        except metadata.PackageNotFoundError:
            there = "missing"
        if there.partition("+")[0] != entry.version.partition("+")[0]:  # 2.14.1+cpu is another build of the same code
            others.append(f"{entry.name} {there} ({entry.version})")
    if not others:
        return Check("versions", f"all {len(entries)} are those the edition was made with")
    shown = ", ".join(others[:4]) + (", …" if len(others) > 4 else "")
    return Check(
        "versions",
        f"{len(others)} of {len(entries)} are not those the edition was made with: {shown}",
        0,
        "Numbers may differ in their last digits. For the very versions: make install EDITION=locked",
    )


def device() -> Check:
    """What models run on: a GPU, where PyTorch sees one and RRG_DEVICE does not forbid it, or the processor."""
    import torch

    from rrg_lib.runtime.device import device_name, this_device

    try:
        chosen = this_device()
    except ConfigurationError as error:
        return Check("device", str(error), 2, "Or leave the choice to the library: unset RRG_DEVICE")
    if chosen.type == "cuda":
        size = torch.cuda.get_device_properties(chosen).total_memory / GIB
        return Check("device", f"{device_name()}, {size:.0f} GiB; torch {torch.__version__}")
    state = f"processor, {os.cpu_count()} cores, {torch.get_num_threads()} threads; torch {torch.__version__}"
    if not torch.cuda.is_available() and shutil.which("nvidia-smi"):
        why = (
            f"the driver is too old for its CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "it was built without CUDA"
        )
        return Check(
            "device",
            f"{state}; there is an NVIDIA driver, and PyTorch sees no GPU",
            1,
            f"Perhaps {why}: compare with what nvidia-smi says.",
        )
    return Check(
        "device",
        state,
        0,
        "Enough for the profiles ci and laptop; the profile gpu, the published setting, needs a GPU.",
    )


def java() -> Check:
    """A Java that starts with the memory METEOR asks for."""
    from rrg_lib.evaluation.meteor import JAVA_OPTIONS, WHAT_TO_DO, require_java

    try:
        chosen = require_java()
    except JavaError as error:
        return Check("Java", str(error).removesuffix(WHAT_TO_DO).strip(), 2, WHAT_TO_DO)
    done = subprocess.run(
        [chosen, *JAVA_OPTIONS, "-version"], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )
    first_line = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[0]
    if done.returncode:
        return Check(
            "Java",
            f"starts, but not as METEOR needs it ({' '.join(JAVA_OPTIONS)}): {first_line}",
            2,
            "Give it 1 GiB of memory, or set JAVA_HOME.",
        )
    return Check("Java", first_line)


def memory() -> Check:
    """Main memory, or the part of it that a container may use."""
    import psutil

    machine = psutil.virtual_memory()
    limit = min([machine.total, *_container_limits()])
    free = min(machine.available, limit)
    return _enough(
        "memory",
        limit,
        free,
        MEMORY_GIB,
        "Chapters that train need it; close other programs, or use a machine with more.",
    )


def _container_limits() -> list[int]:
    limits = []
    for path in _LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        limits += [int(text)] if text.isdigit() else []  # "max" is no limit
    return limits


def load(percent: float | None = None, waiting: float | None = None, cores: int | None = None) -> Check:
    """How busy the machine is with other work, looked at for `LOOK_SECONDS`: share of the processors in use, and
    processes that run or wait to run (the load average of the last minute, where the system has one). Each can be given
    instead.

    A remark and no warning: what is slow today runs tomorrow.
    """
    import psutil

    cores = cores or os.cpu_count() or 1
    percent = psutil.cpu_percent(interval=LOOK_SECONDS) if percent is None else percent
    waiting = psutil.getloadavg()[0] if waiting is None else waiting
    state = f"{percent:.0f} % of {cores} cores in use, {waiting:.1f} processes at work in the last minute"
    if percent < BUSY_PERCENT and waiting < cores:
        return Check("load", f"quiet: {state}")
    policy = os.environ.get(POLICY, "")
    spins = (
        ""
        if policy.lower() == "passive"
        else f"{POLICY} is {policy or 'not set'}: threads that spin take each other's time here; set it to passive. "
    )
    return Check(
        "load",
        f"busy: {state}",
        0,
        f"Something else is at work: stated minutes don't hold, and times measured now say little. {spins}Wait for it, "
        "or give each its own part of the cores: OMP_NUM_THREADS=1",
    )


def disk() -> Check:
    """Free space where everything made is kept."""
    home = workspace()
    usage = shutil.disk_usage(_nearest(home))
    return _enough(
        "disk",
        usage.total,
        usage.free,
        DISK_GIB,
        f"Prepared data and runs go to {home}: free some space, or choose another folder with RRG_HOME.",
    )


def _enough(name: str, total: int, free: int, need: tuple[float, float], advice: str) -> Check:
    level = 2 if free < need[0] * GIB else int(free < need[1] * GIB)
    state = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    return Check(
        name,
        state + (f"; {need[0]} are needed, {need[1]} are comfortable" if level else ""),
        level,
        advice if level else "",
    )


def writing() -> Check:
    """Whether a file can be written where everything made is kept, tried with one that has no name."""
    home = workspace()
    try:
        with tempfile.TemporaryFile(dir=_nearest(home)) as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        return Check(
            "workspace",
            f"{home} can't be written: {error.strerror or error}",
            2,
            "Choose another folder: export RRG_HOME=FOLDER",
        )
    return Check("workspace", str(home))


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists: it would be made there."""
    path = path.absolute()
    return next(
        folder for folder in (path, *path.parents) if os.path.exists(folder)
    )  # Path.exists raises where a folder may not be entered
