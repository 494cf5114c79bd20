"""The report of `bench.gpu`: lines with a value, a goal and a verdict, kept in Markdown and JSON as they come."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from bench.report import note, table

PASS, FAIL, NEEDS_GPU, NO_GOAL = "pass", "FAIL", "needs a GPU", "-"
COLUMNS = ("part", "what", "value", "goal", "verdict")


@dataclass(frozen=True)
class Line:
    """A row of the report."""

    part: str
    what: str
    value: str
    goal: str
    verdict: str


class Report:
    """The lines so far. On a CPU, lines that count only on a GPU have the verdict that they need one."""

    def __init__(self, folder: Path, heading: str, *, has_gpu: bool) -> None:
        self._folder = folder
        self._heading = heading
        self._part = ""
        self.has_gpu = has_gpu
        self.lines: list[Line] = []
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Lines belong to this part. An error is a line that fails: the other parts are measured all the same."""
        note(name)
        self._part = name
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, a machine with a GPU is there for minutes
            reason = (str(error).strip().splitlines() or [""])[-1]
            self.add("the rest", f"{type(error).__name__}: {reason}", "no error", passed=False)

    def add(self, what: str, value: str, goal: str = "", *, passed: bool = True) -> None:
        """Add a line that counts on every device."""
        self._add(Line(self._part, what, value, goal, (PASS if passed else FAIL) if goal else NO_GOAL))

    def add_for_gpu(self, what: str, value: str = "-", goal: str = "", *, passed: bool = True) -> None:
        """Add a line that counts only on a GPU."""
        if self.has_gpu:
            self.add(what, value, goal, passed=passed)
        else:
            self._add(Line(self._part, what, value, goal, NEEDS_GPU))

    @property
    def has_failed(self) -> bool:
        """Whether any goal was missed."""
        return any(line.verdict == FAIL for line in self.lines)

    def markdown(self) -> str:
        """The heading and the table, the lines of each part together."""
        parts = list(dict.fromkeys(line.part for line in self.lines))
        lines = sorted(self.lines, key=lambda line: parts.index(line.part))
        return f"{self._heading}\n{table(COLUMNS, map(astuple, lines))}"

    def _add(self, line: Line) -> None:
        """Write the files after each line: a run that is cut off leaves what it has measured."""
        self.lines.append(line)
        note(f"  {line.what}: {line.value} ({line.verdict})")
        document = [asdict(each) for each in self.lines]
        (self._folder / "gpu.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        (self._folder / "gpu.md").write_text(self.markdown())
