"""What the self-test found is kept: later starts make none, others make their own, and no file can do harm."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from artifacts import SIZE, tiny_artifact

from tagger.artifact import file_digest, read_manifest
from tagger.devices import Device
from tagger.model import HowToRun, Model, load_fastest
from tagger.runners import openvino
from tagger.runners.interface import Plan
from tagger.runners.remembering import MOST_KEPT, Circumstances, Memory

CPU = Device("cpu", torch.float32, 8)
CIRCUMSTANCES = Circumstances(
    model="digest",
    device="cpu",
    precision="torch.float32",
    hardware="a processor",
    runner=None,
    at_once=2,
    batch_size=None,
    engines=("torch 2", "openvino 2026"),
)
PLAN = Plan("torchscript", 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "self-tests.json"


class Starts:
    """Starts of one machine; `made` counts their self-tests, each of which compares OpenVINO with TorchScript."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.memory = folder / "self-tests.json"
        self._artifact = folder / "tiny.pt"
        self._log = caplog
        tiny_artifact(self._artifact)
        caplog.set_level(logging.INFO, logger="tagger")

    def replace_model(self, *, seed: int = 0, most_in_memory: int = 10_000) -> None:
        tiny_artifact(self._artifact, seed=seed, most_in_memory=most_in_memory)

    def start(self, device: Device = CPU, *, at_once: int = 1, batch_size: int | None = 4) -> Model:
        how = HowToRun(runner=None, at_once=at_once, batch_size=batch_size, memory=self.memory)
        digest, manifest = file_digest(self._artifact), read_manifest(self._artifact)
        return load_fastest(self._artifact, digest, manifest, device, how)

    @property
    def made(self) -> int:
        return sum("times as fast as TorchScript" in record.getMessage() for record in self._log.records)


@pytest.fixture
def starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Starts:
    return Starts(tmp_path, caplog)


def test_a_second_start_makes_no_self_test_and_runs_the_same(starts: Starts) -> None:
    first = starts.start()
    written = starts.memory.stat().st_mtime_ns
    second = starts.start()
    assert starts.made == 1
    assert starts.memory.stat().st_mtime_ns == written
    assert (second.runner_name, second.batch_size) == (first.runner_name, first.batch_size)
    image = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    np.testing.assert_allclose(second.scores([image]), first.scores([image]), atol=1e-4)


def test_another_model_device_number_of_passes_or_batch_size_is_tested_anew(starts: Starts) -> None:
    starts.start()
    starts.start(replace(CPU, dtype=torch.bfloat16))
    starts.start(at_once=2)
    starts.start(batch_size=5)
    starts.replace_model(seed=1)
    starts.start()
    assert starts.made == 5
    starts.start(at_once=2, batch_size=4)
    assert starts.made == 6  # nobody had asked for both
    starts.replace_model()
    starts.start()
    assert starts.made == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "another"},
        {"device": "cuda"},
        {"precision": "torch.bfloat16"},
        {"hardware": "another"},
        {"runner": "torchscript"},
        {"at_once": 3},
        {"batch_size": 8},
        {"engines": ("torch 2", "openvino is not there")},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_was_found_under_other_circumstances_is_not_known(
    file: Path, changed: dict[str, object]
) -> None:
    Memory(file, CIRCUMSTANCES).keep(PLAN)
    assert Memory(file, CIRCUMSTANCES).plan == PLAN
    assert Memory(file, replace(CIRCUMSTANCES, **changed)).plan is None  # type: ignore[arg-type]


def test_the_circumstances_of_this_machine_name_its_engines() -> None:
    here = Circumstances.of("digest", CPU, None, 2, None)
    assert f"torch {version('torch')}" in here.engines
    assert any(engine.startswith("openvino 20") for engine in here.engines)
    assert here.hardware


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"half', id="broken"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[1, 2]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"of": "another program"}', id="foreign"),
        pytest.param(b"[" * 100_000, id="nested without end"),
    ],
)
def test_a_file_that_makes_no_sense_is_as_good_as_none_and_is_replaced(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    memory = Memory(file, CIRCUMSTANCES)
    assert memory.plan is None
    memory.keep(PLAN)
    assert memory.plan == PLAN
    json.loads(file.read_text())


@pytest.mark.parametrize(
    "plan",
    [
        {"runner": "nonsense", "batch_size": 8},
        {"runner": "torchscript", "batch_size": 0},
        {"runner": "torchscript", "batch_size": -4},
        {"runner": "torchscript", "batch_size": "many"},
        {"runner": "torchscript", "batch_size": None},
        {"runner": "torchscript", "batch_size": 10**9},
        {"runner": "torchscript"},
        {},
        "torchscript",
        ["torchscript", 8],
        7,
        None,
    ],
    ids=str,
)
def test_a_plan_that_nobody_can_have_found_is_not_followed(file: Path, plan: object) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({CIRCUMSTANCES.key: plan}))
    assert Memory(file, CIRCUMSTANCES).plan is None


def test_a_tampered_plan_means_a_new_self_test(starts: Starts) -> None:
    starts.start()
    kept = json.loads(starts.memory.read_text())
    (key,) = kept
    starts.memory.write_text(json.dumps({key: kept[key] | {"runner": "nonsense"}}))
    starts.start()
    assert starts.made == 2
    assert json.loads(starts.memory.read_text()) == kept


def test_no_more_than_the_newest_are_kept(file: Path) -> None:
    for number in range(MOST_KEPT + 10):
        Memory(file, replace(CIRCUMSTANCES, at_once=number)).keep(Plan("torchscript", number + 1))
    assert len(json.loads(file.read_text())) == MOST_KEPT
    assert Memory(file, replace(CIRCUMSTANCES, at_once=9)).plan is None
    for number in (10, MOST_KEPT + 9):
        assert Memory(file, replace(CIRCUMSTANCES, at_once=number)).plan == Plan("torchscript", number + 1)


def test_keeping_the_same_again_forgets_no_other(file: Path) -> None:
    for _ in range(3):
        for number in range(3):
            Memory(file, replace(CIRCUMSTANCES, at_once=number)).keep(PLAN)
    assert len(json.loads(file.read_text())) == 3


@pytest.mark.parametrize("in_the_way", ["file where the folder should be", "folder where the file should be"])
def test_where_nothing_can_be_written_the_start_goes_on_and_leaves_nothing(
    starts: Starts, tmp_path: Path, in_the_way: str
) -> None:
    starts.memory = tmp_path / "elsewhere" / "self-tests.json"
    if in_the_way.startswith("file"):
        starts.memory.parent.touch()
    else:
        starts.memory.mkdir(parents=True)
    for _ in range(2):
        starts.start()
    assert starts.made == 2
    assert [*starts.memory.parent.glob("self-tests.json?*")] == []


WRITES = """
import sys
from pathlib import Path
from tagger.runners.interface import Plan
from tagger.runners.remembering import Circumstances, Memory

file, model = Path(sys.argv[1]), sys.argv[2]
sys.stdin.read()
for number in range(300):
    circumstances = Circumstances(model, "cpu", "torch.float32", "a processor", None, number, None, ("torch 2",))
    Memory(file, circumstances).keep(Plan("torchscript", 16))
"""


def test_processes_that_write_at_once_leave_a_whole_file(file: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES, str(file), name], stdin=subprocess.PIPE)
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    while any(writer.poll() is None for writer in writers):
        if file.exists():
            json.loads(file.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert 1 <= len(json.loads(file.read_text())) <= MOST_KEPT
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_self_test_that_failed_is_not_remembered(starts: Starts, caplog: pytest.LogCaptureFixture) -> None:
    """The next start may have the memory that this one had not."""
    starts.replace_model(most_in_memory=0)
    for _ in range(2):
        caplog.clear()
        starts.start()
        assert "the model fails on the self-test's pictures" in caplog.text
    assert not starts.memory.exists()


def test_a_plan_that_cannot_be_followed_means_a_new_self_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, memory = tmp_path / "tiny.pt", tmp_path / "self-tests.json"
    tiny_artifact(path)
    digest = file_digest(path)
    key = Circumstances.of(digest, CPU, None, 1, 4).key
    memory.write_text(json.dumps({key: {"runner": "openvino", "batch_size": 4}}))

    class Broken:
        def __init__(self, *_args: object) -> None:
            raise OSError("libopenvino_intel_cpu_plugin.so: cannot open shared object file")

    monkeypatch.setattr(openvino, "OpenVinoRunner", Broken)
    model = load_fastest(path, digest, read_manifest(path), CPU, HowToRun(None, 1, 4, memory))
    assert model.runner_name == "torchscript"
