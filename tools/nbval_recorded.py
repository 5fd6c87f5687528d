"""nbval on a run that was already made. `make test` executes every chapter once, by papermill; this compares that run
with the committed notebooks.

It is nbval with another kernel, one that answers a cell with the outputs on record instead of running it. Which cells
are compared, how, and after which replacements is nbval's own. Loaded instead of nbval's entry point:

    PYTHONPATH=tools pytest -p no:nbval -p nbval_recorded --nbval-lax --nbval-sanitize-with tests/nbval_sanitize.cfg
    --recorded build/check notebooks

For a comparison with a second execution, run plain nbval: `pytest --nbval-lax --nbval-sanitize-with
tests/nbval_sanitize.cfg notebooks/04_*.ipynb`.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import chapters
import nbformat
from nbval import plugin


def pytest_addoption(parser):
    plugin.pytest_addoption(parser)
    parser.addoption(
        "--recorded",
        type=Path,
        required=True,
        help="the folder of the executed notebooks, as `tools/book.py write` makes them",
    )


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".ipynb":
        return RecordedNotebook.from_parent(parent, path=file_path)


class RecordedNotebook(plugin.IPyNbFile):
    """A committed notebook whose marked cells are compared with a recorded run. The others are no tests: they would
    always pass."""

    def collect(self):
        committed = nbformat.read(self.path, as_version=4)
        if any(
            chapters.is_checked(cell) and cell.execution_count is None
            for cell in committed.cells
            if cell.cell_type == "code"
        ):
            raise self.CollectError(
                f"{self.path.name}: marked cells were never executed: there is nothing to compare with; run `make "
                f"notebooks`"
            )
        return [item for item in super().collect() if item.options["check"]]

    def setup(self):
        recorded = self.config.option.recorded / self.path.name
        if not recorded.exists():
            raise FileNotFoundError(f"{recorded}: no run of {self.path.name} on record; run `make chapters` first")
        self.kernel = Recording(nbformat.read(recorded, as_version=4))
        self.setup_sanitize_files()


class Recording:
    """The part of nbval's kernel that a cell needs, played from the outputs of an executed notebook, in order."""

    def __init__(self, notebook: nbformat.NotebookNode):
        self.cells = deque(cell for cell in notebook.cells if cell.cell_type == "code")
        self.messages: deque[dict] = deque()

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        while self.cells and self.cells[0].source != source:
            self.cells.popleft()
        if not self.cells:
            raise LookupError("the run on record has no such cell: source and notebook do not agree; run `make pairs`")
        cell = self.cells.popleft()
        self.messages = deque({"msg_type": output.output_type, "content": output} for output in cell.outputs)
        self.messages.append({"msg_type": "status", "content": {"execution_state": "idle"}})
        return "recorded"

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        return {"parent_header": {"msg_id": "recorded"}, **self.messages.popleft()}

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """The run has ended already."""

    def await_idle(self, msg_id: str, timeout: float | None = None) -> None:
        """The run has ended already."""

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None:
        """There is no process to stop."""
