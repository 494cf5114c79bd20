"""`tagger tag --profile`: where the processor's time went, beside what is printed anyway."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.artifacts import tiny_artifact
from support.command_line import CommandRunner
from support.commands import Terminal, draw_many
from support.threads import in_threads

from tagger.pipeline.profile import Profiler
from tagger.system.metrics import STAGES, stage_timer

ROW = re.compile(r"^  (?P<stage>\w+) +(?P<ms>-?[\d.]+) ms a photo +(?P<percent>-?\d+)%$", re.MULTILINE)
PHOTOS = 12


def rows(text: str) -> dict[str, tuple[float, int]]:
    """Milliseconds a photo and per cent, by stage."""
    return {row["stage"]: (float(row["ms"]), int(row["percent"])) for row in ROW.finditer(text)}


def check(text: str) -> None:
    """The table holds together, whatever the figures are."""
    shown = rows(text)
    assert [*shown] == [*STAGES, "rest", "all"]
    assert all(ms >= 0 and percent >= 0 for ms, percent in shown.values())
    everything, all_percent = shown.pop("all")
    assert all_percent == 100
    rounding = len(shown) * 0.5
    assert sum(percent for _, percent in shown.values()) == pytest.approx(100, abs=rounding)
    assert sum(ms for ms, _ in shown.values()) == pytest.approx(everything, abs=0.005 * (len(shown) + 1))
    assert not any("-0" in row.group() for row in ROW.finditer(text))


@pytest.mark.slow
def test_each_stage_is_shown_on_stderr_and_stdout_stays_as_it_is(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_BACKEND": "torchscript"})
    draw_many(terminal.folder / "photos", PHOTOS)
    # Real processes: threads that other tests left in this one would be counted, too.
    done = terminal.run_process("tag", "photos", "--profile")
    assert len(done.stdout.splitlines()) == PHOTOS
    assert "ms a photo" not in done.stdout
    assert re.search(rf"^processor time of {PHOTOS} photos, \d+\.\d cores busy:$", done.stderr, re.MULTILINE)
    check(done.stderr)
    for stage in ("read", "digest", "decode", "model", "store"):
        assert rows(done.stderr)[stage][0] > 0
    assert "12 photos" in done.stderr.splitlines()[-5]  # the sums and the next steps come last, as without it

    as_json = terminal.run_process("tag", "photos", "--profile", "--again", "--json")
    assert json.loads(as_json.stdout)["total"] == PHOTOS
    check(as_json.stderr)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for photos, and a tiny model for the commands in this process."""
    tiny_artifact(tmp_path / "tiny.pt")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def test_where_nothing_is_left_to_do_nothing_odd_is_shown(tagger: CommandRunner, photos: Path) -> None:
    empty = tagger("tag", photos, "--profile")
    assert (empty.code, rows(empty.err)) == (0, {})
    draw_many(photos, 2)
    assert "processor time" not in tagger("tag", photos).err
    again = tagger("tag", photos, "--profile")
    assert (again.out, "processor time" in again.err, "2 skipped" in again.err) == (b"", False, True)


def test_photos_that_fail_have_their_time_too(tagger: CommandRunner, photos: Path) -> None:
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(b"no picture %d" % number)
    done = tagger("tag", photos, "--profile")
    assert done.code == 3
    assert "processor time of 3 photos" in done.err
    check(done.err)


ENDED = """
import _thread, threading, time
from tagger.pipeline.profile import Profiler

profiler = Profiler()
_thread.start_new_thread(threading.current_thread, ())
time.sleep(0.1)
print(profiler.profile().total_s > 0)
"""


def test_threads_of_libraries_that_have_ended_do_no_harm() -> None:
    """Python keeps those that it has not started in its list of threads."""
    done = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_what_a_thread_used_that_has_ended_counts_for_its_own_stage_alone() -> None:
    """Readers come and go."""
    profiler = Profiler()

    def work() -> None:
        with stage_timer("decode"):
            until = time.thread_time() + 0.2
            while time.thread_time() < until:
                pass

    in_threads([work, work])
    profile = profiler.profile()
    assert profile.stages["decode"] >= 0.4
    assert profile.stages["model"] < 0.2
    assert sum(profile.stages.values()) <= profile.total_s
