"""The reports of processes that were ended because they made no progress."""

import logging
from pathlib import Path

import pytest

from tagger.processes import stall


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "stalled-worker.log"


def test_however_often_a_process_stalls_one_earlier_report_is_kept(
    report: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        report.write_text(f"stall {number}")
        with caplog.at_level(logging.WARNING):
            stall._opened(report).close()
    earlier = report.with_name("stalled-worker.earlier.log")
    assert earlier.read_text() == "stall 2"
    assert sorted(report.parent.iterdir()) == [earlier, report]
    assert list(stall.stalls(report.parent)) == [earlier]
    assert len(caplog.messages) == 3
    assert "tagger worker made no progress and was ended on 2" in caplog.messages[0]
    assert str(earlier) in caplog.messages[0]


@pytest.mark.parametrize("obstacle", ["a link to nothing", "a folder"])
def test_what_is_no_report_is_passed_over(report: Path, obstacle: str) -> None:
    if obstacle == "a folder":
        report.mkdir()
    else:
        report.symlink_to(report.with_name("nothing"))
    assert stall.stalls(report.parent) == {}
    stall._opened(report).close()
