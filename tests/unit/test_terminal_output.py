"""What commands print on a terminal: tables that fit it, names that cannot change it, the lines of a status."""

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tagger.cli import console
from tagger.cli.console import local_time, write_parts, write_table
from tagger.cli.job_text import overview_lines, photo_line, service_lines
from tagger.database import JobKind, JobState, Outcome, TagReason, VerdictKind
from tagger.errors import PathNotFound, RedisMisconfigured, RedisUnavailable
from tagger.ledger.job_control import JobProgress
from tagger.ledger.workers import LastTick, WorkerStatus
from tagger.processes import open_closed_streams
from tagger.query.photo_json import JobPhoto
from tagger.texts.text_format import day_text, in_zone, moment_text

ESCAPES = "red\x1b[31m"


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return re.sub("\x1b\\[[01]m", "", buffer.getvalue().decode())


TerminalOfWidth = Callable[[int], Terminal]


@pytest.fixture
def terminal_of_width(monkeypatch) -> TerminalOfWidth:
    """Make standard output a terminal with this number of columns."""

    def make(columns: int) -> Terminal:
        terminal = Terminal(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        return terminal

    return make


def test_rows_that_do_not_fit_are_lines_and_narrow_columns_stay_whole(terminal_of_width):
    terminal = terminal_of_width(60)
    row = ["*", "landmarks-61-v2", "61", "899604b95f5e", "/opt/tagger/lib/python3.11/landmarks.pt"]
    write_table(("", "Name", "Landmarks", "Digest", "File"), [row])
    lines = terminal.text.splitlines()
    assert lines[0].split() == ["Name", "Landmarks", "Digest", "File"]
    assert lines[2].split()[:4] == ["*", "landmarks-61-v2", "61", "899604b95f5e"]
    assert max(map(len, lines)) <= 60
    terminal = terminal_of_width(40)
    path = "/home/ada/Pictures/2019/IMG_20190714_213803_from_the_bridge.jpg"
    rows = [["*", "landmarks-203-v11", "203", path], ["", "places", "8", "/b.pt"]]
    write_table(("", "Name", "Landmarks", "File"), rows)
    assert terminal.text == (
        f"*\nName: landmarks-203-v11\nLandmarks: 203\nFile: {path}\n\n"
        "Name: places\nLandmarks: 8\nFile: /b.pt\n\n"
    )


def test_columns_without_values_are_left_out_on_a_terminal_alone(terminal_of_width, capsys):
    columns, rows = ("Name", "Until", "Next"), [["nightly", "", "03:00"], ["weekly", None, "04:00"]]
    console.write_list([1, 2], columns, rows, "nothing", json=False)
    assert capsys.readouterr().out == "Name\tUntil\tNext\nnightly\t\t03:00\nweekly\t\t04:00\n"
    terminal = terminal_of_width(80)
    console.write_list([1, 2], columns, rows, "nothing", json=False)
    assert terminal.text.splitlines()[0].split() == ["Name", "Next"]
    rows[1][1] = "06:00"
    console.write_list([1, 2], columns, rows, "nothing", json=False)
    assert "06:00" in terminal.text


def test_the_parts_of_a_long_table_have_the_same_columns(terminal_of_width, monkeypatch):
    monkeypatch.setattr("tagger.cli.console.TABLE_PART", 1)
    terminal = terminal_of_width(60)
    write_table(("Photo", "Landmark"), [["/photos/a.jpg", "Eiffel Tower"], ["/b.jpg", "Alai Minar"]])
    title, _line, first, second = terminal.text.splitlines()
    assert title.index("Landmark") == first.index("Eiffel Tower") == second.index("Alai Minar")


def test_control_characters_of_names_do_not_reach_a_terminal(terminal_of_width, capsys):
    terminal = terminal_of_width(80)
    write_parts([f"/photos/{ESCAPES}.jpg\n".encode() + b"/photos/\xff.jpg\r\n"])
    assert terminal.text == "/photos/red\\x1b[31m.jpg\n/photos/\\xff.jpg\n"
    with pytest.raises(SystemExit):
        console.fail(PathNotFound(path=ESCAPES))
    assert "at red\\x1b[31m. Check" in capsys.readouterr().err
    path, text = f"/{ESCAPES}.jpg", f"Louvre → {ESCAPES}.jpg.xmp"
    line = photo_line(job_photo(Outcome.WRITTEN, path=path, text=text), JobKind.WRITE)
    assert line == "/red\\x1b[31m.jpg: written: Louvre → red\\x1b[31m.jpg.xmp"


def test_programs_get_names_unchanged(capfdbinary):
    name = f"/photos/{ESCAPES}.jpg\r\n".encode() + b"\xff\n"
    write_parts([name])
    assert capfdbinary.readouterr().out == name


def job_photo(outcome: Outcome, **facts: Any) -> JobPhoto:
    unset = {"reason": None, "text": None, "is_damaged": False, "tags": (), "guess": None, "things": ()}
    return JobPhoto(**{"path": "/a.jpg", "outcome": outcome, **unset, **facts})


def tag(name: str, score: float, **facts: object) -> tuple[Any, str]:
    return SimpleNamespace(**{"score": score, "doubtful": None, "verdict": None, **facts}), name


def test_an_unknown_photo_names_what_it_perhaps_shows():
    guess = tag("Louvre", 0.582)
    rejected = tag("Alai Minar", 0.95, verdict=VerdictKind.REJECTED)
    too_far = tag("Big Ben", 0.9, doubtful=TagReason.POSITION)
    texts: dict[str, dict[str, object]] = {
        "unknown": {},
        "unknown (best prediction: Louvre 58%)": {"guess": guess},
        "unknown (rejected: Alai Minar 95%)": {"tags": [rejected]},
        "unknown (a part of the image is missing)": {"is_damaged": True},
        "unknown (doubtful: Big Ben 90%, too far from where the photo was taken)": {
            "tags": [rejected, too_far],
            "guess": guess,
        },
    }
    for text, facts in texts.items():
        assert photo_line(job_photo(Outcome.UNKNOWN, **facts), JobKind.TAG) == f"/a.jpg: {text}"


def test_closed_standard_streams_are_no_error(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    open_closed_streams()
    write_table(("Photo",), [["/photos/a.jpg"]])
    console.warning("nobody reads this")
    assert sys.stdout.name == sys.stderr.name == os.devnull
    sys.stdout.close()
    sys.stderr.close()


def test_a_full_disk_under_the_output_is_one_line():
    command = [sys.executable, "-m", "tagger", "--help"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: No space is left for a file or standard output (No space left on device). "
        "Free space on its disk, then try again; stored results are safe.\n"
    )


def test_a_day_and_a_moment_are_in_words():
    time = datetime(2024, 6, 3, 4, 5, 59)  # noqa: DTZ001 - cameras know no time zone
    assert day_text(time) == "3 June 2024"
    assert day_text(time.date()) == "3 June 2024"
    assert moment_text(time) == "3 June 2024, 04:05"
    of_program = time.replace(tzinfo=UTC)
    for zone, expected in (("Asia/Tokyo", "3 June 2024, 13:05"), ("America/New_York", "3 June 2024, 00:05")):
        with in_zone(ZoneInfo(zone)):
            assert moment_text(time) == "3 June 2024, 04:05"
            assert moment_text(of_program) == expected
    with in_zone(ZoneInfo("America/Los_Angeles")):
        assert (day_text(of_program), day_text(time)) == ("2 June 2024", "3 June 2024")


def test_times_are_shown_in_the_time_zone_of_the_machine(monkeypatch):
    monkeypatch.setenv("TZ", "UTC-5:30")
    time.tzset()
    try:
        assert local_time(datetime(2026, 5, 1, 20, 0, 59, tzinfo=UTC)) == "2026-05-02 01:30 UTC"
    finally:
        monkeypatch.undo()
        time.tzset()


NO_QUEUES = {"interactive": None, "bulk": None}


def job(number: int, state: JobState = JobState.RUNNING, **values: object) -> JobProgress:
    required = [each for each in fields(JobProgress) if each.default is MISSING]
    unset = {each.name: None if "None" in str(each.type) else 0 for each in required}
    about = {"kind": "tag", "runner": "workers", "priority": "bulk", "model": "m", "total": 37}
    about["created_at"] = datetime(2026, 5, 1, 14, 30, tzinfo=UTC)
    facts: dict[str, Any] = unset | about | {"job": number, "state": state} | values
    return JobProgress(**facts)


def test_unknown_queues_say_why():
    tick = LastTick(datetime.now(UTC), 12.3, is_late=False)
    for problem, text in (
        (None, "Redis is not running; a worker starts it"),
        (RedisUnavailable(url="redis://h", reason="refused"), "Redis does not answer"),
        (RedisMisconfigured(url="redis://h", reason="refused"), "Redis cannot be used"),
    ):
        lines = service_lines((), NO_QUEUES, problem, tick)
        assert lines == ["workers: none", f"queued messages: {text}", "schedules: last tick 12 s ago"]


def test_overviews_say_what_metadata_jobs_wrote_and_promise_nothing():
    jobs = [job(number, JobState.FINISHED, kind="write", written=35, refused=2) for number in (7, 6)]
    tagging = job(5, note="waits for the folder", paths=["/photos", "/phone", "/old"])
    written = "metadata written: 37 photos: 35 written, 0 unchanged, 2 refused"
    running = "37 photos: 0 tagged, 0 unknown, 0 skipped; 0 running, 0 queued"
    lines = overview_lines([*jobs, tagging, job(4, JobState.FINISHED, kind="backfill")], 3, is_served=True)
    assert lines == [
        f"job 7 finished, {written} (2026-05-01 14:30 UTC)",
        f"job 6 finished, {written} (2026-05-01 14:30 UTC)",
        f"job 5 running: {running} (2026-05-01 14:30 UTC, /photos, /phone, …)",
        "  waits for the folder",
        "job 4 finished: 37 photos: 0 tagged, 0 unknown, 0 skipped (2026-05-01 14:30 UTC, backfill)",
        "… and 3 older jobs, finished; to list all, run: tagger job list",
    ]
    lines = service_lines([WorkerStatus("a@rack", "cpu", datetime.now(UTC), 26.0, 2)], NO_QUEUES, None, None)
    assert lines[0] == "workers: a@rack (cpu, last seen 26 s ago)"
    (line,) = overview_lines([job(5, eta_seconds=18.0)], 0, is_served=False)
    assert "left" not in line
    (line,) = overview_lines([job(5, eta_seconds=18.0, runner="local")], 0, is_served=False)
    assert "about 18 s left" in line
