"""A memory or a generator of one's own, in one file: held against what every one of them promises, trained, and put
beside the others (`rrg check-mine FILE`).

The file is what a file of `rrg_lib/models` is: a `CrossModalMemory` with its `MemoryConfig`, or a `Captioner` with its
`GeneratorConfig`. It runs as the student's own code, with all that the student may do on this machine: nothing here is
a sandbox. Its own process is for clear errors, not for safety: one that hangs, prints without end or ends Python is
stopped and named.

Two names in it may say more: `EQUALS`, a preset whose memory it is to give the numbers of, and `WEIGHTS`, how that
memory's parameters are called: {"its own": "the other's"}.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rrg_lib.book.checks import CheckError
from rrg_lib.book.seam_checks import generator_checks, memory_checks, run_checks
from rrg_lib.errors import ConfigurationError, RRGError, UnknownNameError
from rrg_lib.evaluation.nlg import WITHOUT_JAVA
from rrg_lib.evaluation.score_table import Evaluation
from rrg_lib.experiments.presets import PRESETS, Preset, experiment, register_preset
from rrg_lib.experiments.run import Run
from rrg_lib.models.interface import GeneratorConfig
from rrg_lib.models.memory import CrossModalMemory, MemoryConfig
from rrg_lib.runtime.workspace import workspace, write_json

#: What its preset is called, and with what it is compared: BASE and the two memories of chapter 04.
MINE, BESIDE = "mine", ("base", "mem", "cmn")
#: Seconds in which all checks must be done, and in which it must be trained and scored; bytes that it may print.
CHECK_SECONDS, TRAIN_SECONDS, PRINTS = 300.0, 3600.0, 64 * 1024
_SHOWN = 1500

_TEMPLATE = """
    @dataclass(frozen=True)
    class MyConfig(MemoryConfig):
        kind: ClassVar[str] = "mine"
        slots: int = 64

        def build(self, d_model, heads):
            return MyMemory(self, d_model, heads)"""


class OwnModuleError(RRGError):
    """A file that can't be asked: it does not load, or holds nothing, or too much, to ask. Or one that broke a
    promise, hung, or printed without end."""


@dataclass(frozen=True)
class OwnModule:
    """What a file offers: the settings that build its memory or its generator, and what it says it equals."""

    path: Path
    config: MemoryConfig | GeneratorConfig
    equals: str | None = None
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def preset(self) -> Preset:
        if isinstance(self.config, MemoryConfig):
            return Preset(MINE, f"the memory of {self.path.name}", memory=self.config)
        return Preset(MINE, f"the generator of {self.path.name}", generator=self.config)


# --- in its own process -----------------------------------------------------------------------------------------------


def load_own_module(path: Path, equals: str | None = None) -> OwnModule:
    """Run the file and find the one settings class in it.

    Raises:
        OwnModuleError: it is not there or no Python file, does not run, or defines no settings class, or two.
        UnknownNameError: it is to equal a preset that does not exist.
    """
    if not path.is_file():
        raise OwnModuleError(f"{path}: there is no such file; name the Python file that holds your memory or generator")
    if path.suffix != ".py":
        raise OwnModuleError(f"{path}: expected a Python file, NAME.py; rename it if it is one")
    before = {**MemoryConfig._kinds}, {**GeneratorConfig._kinds}
    name = f"own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.append(str(path.resolve().parent))  # what lies beside it may be imported, and hides nothing
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        missing = isinstance(error, ImportError)
        mend = (
            "spell it as it is called, or install it beside the library" if missing else f"try it alone: python {path}"
        )
        raise OwnModuleError(
            f"{path}{_line_in(path, error)}: it does not run: {type(error).__name__}: {error}; {mend}"
        ) from error
    here = [cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == name]
    configs = [cls for cls in here if issubclass(cls, MemoryConfig | GeneratorConfig)]
    if len(configs) > 1:
        names = ", ".join(cls.__name__ for cls in configs)
        raise OwnModuleError(f"{path}: it has {len(configs)} settings classes, {names}; leave one in each file")
    if not configs:
        memories = ", ".join(cls.__name__ for cls in here if issubclass(cls, CrossModalMemory))
        found = (
            f"it has the memory {memories} and no settings" if memories else "it has neither a memory nor a generator"
        )
        raise OwnModuleError(
            f"{path}: {found}. Expected one subclass of MemoryConfig, which builds your memory (or one of "
            f"GeneratorConfig, which makes your generator):{_TEMPLATE}"
        )
    (cls,) = configs
    if any(cls.kind in kinds for kinds in before):
        raise OwnModuleError(f"{path}: the kind {cls.kind!r} of {cls.__name__} is one of the library's; choose another")
    if "__dataclass_params__" not in vars(cls):
        raise OwnModuleError(
            f"{path}: {cls.__name__} is no dataclass, so that no setting of it can be changed; write "
            f"@dataclass(frozen=True) above it"
        )
    weights = getattr(module, "WEIGHTS", {})
    if not isinstance(weights, dict):
        raise OwnModuleError(f'{path}: WEIGHTS is {type(weights).__name__}; expected {{"your name": "its name", …}}')
    try:
        config = cls()
    except RRGError:
        raise
    except NameError as error:
        raise OwnModuleError(
            f"{path}: the settings of {cls.__name__} have a type that the file does not know ({error}); import it"
        ) from error
    except TypeError as error:
        raise OwnModuleError(
            f"{path}: {cls.__name__} can't be made without arguments ({error}); give every setting a default"
        ) from error
    equals = equals or getattr(module, "EQUALS", None)
    if equals is not None:
        if equals not in PRESETS:
            raise UnknownNameError("preset", equals, PRESETS, f"It stands behind --equals, or as EQUALS in {path}")
        if PRESETS[equals].memory is None or isinstance(config, GeneratorConfig):
            raise ConfigurationError(
                f"{equals!r}: numbers are compared between memories; name a preset that has one, for a memory"
            )
    return OwnModule(path, config, equals, weights)


def _line_in(path: Path, error: BaseException) -> str:
    """ ":LINE" of the file at which the error arose, "" where it is not known."""
    files = {str(path), str(path.absolute())}
    if isinstance(error, SyntaxError) and error.filename in files:
        return f":{error.lineno}"
    at, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in files:
            at = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return at


def check_own_module(own: OwnModule) -> list[str]:
    """Ask it everything; the promises that it keeps. Raises `CheckError` at the first that it breaks."""
    kept: list[str] = []
    other = PRESETS[own.equals].memory if own.equals else None
    if isinstance(own.config, MemoryConfig):
        checks = memory_checks(own.config, other, own.weights)
    else:
        checks = generator_checks(own.config)
    run_checks(checks, kept.append)
    return kept


def train_own_module(own: OwnModule, settings: Sequence[str] = ()) -> Evaluation:
    """Train it in the ci profile on the drawn studies and score its test reports. A run is found again while the file
    is what it was."""
    register_preset(own.preset)
    digest = hashlib.sha256(own.path.read_bytes()).hexdigest()[:8]
    what = experiment(f"iu_phantom/{MINE}", "ci", settings)
    run = Run.of(what, folder=workspace() / MINE / f"{own.path.stem}-{digest}-{what.hash[:6]}")
    run.train()
    return run.evaluate("test", metrics=WITHOUT_JAVA, baselines=False)


def _child(path: str, mode: str, out: str, equals: str, *settings: str) -> None:
    """What the process of its own does: "check" or "train". What came of it is written to `out`."""
    answer: dict[str, Any]
    try:
        own = load_own_module(Path(path), equals or None)
        if mode == "check":
            answer = {"kept": check_own_module(own), "equals": own.equals}
        else:
            answer = {"evaluation": train_own_module(own, settings).to_json()}
    except (CheckError, RRGError) as error:
        at = _line_in(Path(path), error.__cause__) if isinstance(error, CheckError) and error.__cause__ else ""
        answer = {"problem": f"{path}{at}: {error}" if isinstance(error, CheckError) else str(error)}
    except NotImplementedError as error:
        answer = {"problem": f"{path}: a method is still missing: {str(error) or _missing_method(error)}"}
    except Exception as error:
        at = _line_in(Path(path), error)
        answer = {"problem": f"{path}{at}: it stops with {type(error).__name__}: {error}"}
    write_json(Path(out), answer)


def _missing_method(error: BaseException) -> str:
    trace, name = error.__traceback__, "?"
    while trace is not None:
        name, trace = trace.tb_frame.f_code.co_name, trace.tb_next
    return f"`{name}` does nothing yet"


# --- in the command's process -----------------------------------------------------------------------------------------


def own_promises(path: Path, equals: str | None = None, *, seconds: float = CHECK_SECONDS) -> list[str]:
    """The promises that the module of a file keeps, all of them. Raises `OwnModuleError` for the first that it breaks,
    and for a file that can't be asked."""
    return _answer(path, "check", equals, (), seconds)["kept"]


def own_row(path: Path, settings: Sequence[str] = (), *, seconds: float = TRAIN_SECONDS) -> Evaluation:
    """The scores of the module of a file, trained in the ci profile. Raises `OwnModuleError` as `own_promises`."""
    return Evaluation.from_json(_answer(path, "train", None, settings, seconds)["evaluation"])


def beside_others(mine: Evaluation, settings: Sequence[str] = (), presets: Sequence[str] = BESIDE) -> Evaluation:
    """The row beside those of `presets`, trained in the ci profile with those of the settings that they have, and
    beside the trivial baselines. Runs that are there are found."""
    rows = list(mine.rows)
    for number, name in enumerate(presets):
        shared = [one for one in settings if not one.startswith(("memory.", "generator."))]
        run = Run.of(experiment(f"iu_phantom/{name}", "ci", shared))
        run.train()
        theirs = run.evaluate("test", metrics=WITHOUT_JAVA, baselines=number == len(presets) - 1)
        rows += theirs.rows
    return replace(mine, rows=tuple(rows))


def _answer(path: Path, mode: str, equals: str | None, settings: Sequence[str], seconds: float) -> dict[str, Any]:
    """What the process of its own wrote. Raises `OwnModuleError` where it wrote nothing, or a problem."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "rrg_lib.book.own_module", str(path), mode, str(out), equals or "", *settings]
        bars = None if mode == "train" else subprocess.STDOUT  # progress bars go where they always go
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=bars)
        stopped: list[str] = []

        def stop(why: str) -> None:
            stopped.append(why)
            process.kill()

        clock = threading.Timer(seconds, stop, ["hangs"])
        clock.start()
        printed, count = b"", 0
        try:
            while part := process.stdout.read1(8192):
                count += len(part)
                printed = (printed + part)[-_SHOWN:]
                if count > PRINTS and not stopped:
                    stop("prints")
            process.wait()
        finally:
            clock.cancel()
            process.kill()
        said = printed.decode(errors="replace").strip()
        if "prints" in stopped:
            raise OwnModuleError(
                f"{path}: it printed more than {PRINTS // 1024} KiB and was stopped; take the prints out of what is "
                f"called for every batch. The last of it:\n{said[-300:]}"
            )
        if "hangs" in stopped:
            raise OwnModuleError(
                f"{path}: nothing came of it in {seconds:g} seconds and it was stopped: a loop without end, or "
                "one that "
                f"waits for input, at the top of the file or in a method"
                + (f". It printed:\n{said[-300:]}" if said else "")
            )
        if not out.is_file():
            raise OwnModuleError(
                f"{path}: it ended Python itself (code {process.returncode}), by sys.exit, os._exit or a lack of memory"
                + (f". It printed:\n{said[-_SHOWN:]}" if said else "")
            )
        answer = json.loads(out.read_text(encoding="utf-8"))
    if "problem" in answer:
        raise OwnModuleError(answer["problem"])
    return answer


if __name__ == "__main__":
    _child(*sys.argv[1:])
