"""A backend that ends its process at its first pass, as on a processor that its engine does not know."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import Terminal, draw_many

import tagger
from tagger.model.backends import crashes
from tagger.model.backends.protocol import Conversions
from tagger.model.devices import Device

HANGING = """
import ctypes, sys
from tagger.model.backends import trial
trial.TIMEOUT_S = -4
trial.read_manifest = lambda _path: ctypes.PyDLL(None).sleep(3600)
sys.argv[1:] = ["model.pt", "digest", "openvino", "cpu", "float32"]
trial.main()
"""

PHOTOS = 5


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """The shipped model, whose reference and eight bits run on OpenVINO."""
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_MODEL": "", "TAGGER_BACKEND": "auto"})
    draw_many(terminal.folder / "photos", PHOTOS)
    return terminal


def test_another_backend_runs_the_model_and_doctor_says_how_to_try_again(terminal: Terminal) -> None:
    terminal.inject(fault_at="before a pass of OpenVINO")
    assert terminal.start("tag", "photos").wait(timeout=180) == 0, terminal.log.read_text()[-2000:]
    log = terminal.log.read_text()
    for name in ("openvino", "openvino-int8"):
        assert (
            f"{name} does not run on this processor (SIGSEGV); tagger doctor says how to try it again" in log
        )
    assert f"{PHOTOS} photos:" in log

    terminal.log.unlink()
    assert terminal.start("tag", "photos", "--again").wait(timeout=180) == 0
    assert "Choosing the fastest way" not in terminal.log.read_text()

    terminal.injected.clear()
    findings = [each for each in terminal.json("doctor")["checks"] if each["name"] == "backend"]
    assert len(findings) == 2
    for finding in findings:
        Path(finding["remedy"].removeprefix("to try it again: rm ")).unlink()
    terminal.run_process("tag", "photos", "--again")
    assert not any(each["name"] == "backend" for each in terminal.json("doctor")["checks"])
    assert "runs on openvino-int8" in terminal.run("doctor").stdout


def test_without_another_backend_the_error_names_one(terminal: Terminal) -> None:
    terminal.inject(fault_at="before a pass of OpenVINO", without_modules="torch")
    assert terminal.start("tag", "photos").wait(timeout=180) == 1
    log = terminal.log.read_text()
    assert "openvino does not run on this processor; another one needs torch:" in log
    assert "Traceback" not in log


def test_a_backend_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "TIMEOUT_S", 0.2)
    artifact = Path(tagger.__file__).parent / "shipped" / "landmarks.pt"
    kept, device = Conversions(artifact, "digest", tmp_path), Device("cpu", "float32", 8)
    assert crashes.crash_of("openvino", kept, device) == "it does not end within 0 s"
    assert kept.crashes(device).keys() == {"openvino"}


def test_a_trial_that_hangs_ends_although_its_parent_was_killed() -> None:
    assert subprocess.run([sys.executable, "-c", HANGING], check=False).returncode == -signal.SIGALRM


@pytest.mark.parametrize("record", ["damaged", "folder"])
def test_a_record_that_cannot_be_read_still_counts(tmp_path: Path, record: str) -> None:
    kept, device = Conversions(tmp_path / "model.pt", "digest", tmp_path), Device("cpu", "float32", 8)
    file = kept.crash("openvino", device)
    assert file is not None
    file.mkdir() if record == "folder" else file.write_bytes(b"\xff\xfe")
    assert crashes.crash_of("openvino", kept, device)
