"""The cache of backend selections: later starts use the stored choice, each key has its own, any file content is handled."""

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
from support.artifacts import SIZE, tiny_artifact

from tagger.inference.artifact import file_digest, read_manifest
from tagger.inference.backends import openvino
from tagger.inference.backends.protocol import BackendChoice, BackendOptions
from tagger.inference.backends.selection_cache import MAX_ENTRIES, CacheKey, SelectionCache
from tagger.inference.devices import Device
from tagger.inference.model import Model, load_fastest_model

CPU = Device("cpu", torch.float32, 8)
KEY = CacheKey(
    model="digest",
    device="cpu",
    precision="torch.float32",
    hardware="a processor",
    backend=None,
    at_once=2,
    batch_size=None,
    gpu_jpeg=False,
    engines=("torch 2", "openvino 2026"),
)
CHOICE = BackendChoice("torchscript", 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "backend-selections.json"


class Starts:
    """Starts a model on one machine. `made` counts the selections, each of which compares OpenVINO with TorchScript."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.cache_file = folder / "backend-selections.json"
        self._artifact = folder / "tiny.pt"
        self._log = caplog
        tiny_artifact(self._artifact)
        caplog.set_level(logging.INFO, logger="tagger")

    def replace_model(self, *, seed: int = 0, max_batch: int = 10_000) -> None:
        tiny_artifact(self._artifact, seed=seed, max_batch=max_batch)

    def start(self, device: Device = CPU, *, at_once: int = 1, batch_size: int | None = 4) -> Model:
        how = BackendOptions(backend=None, at_once=at_once, batch_size=batch_size, cache_file=self.cache_file)
        digest, manifest = file_digest(self._artifact), read_manifest(self._artifact)
        return load_fastest_model(self._artifact, digest, manifest, device, how)

    @property
    def made(self) -> int:
        return sum("times as fast as TorchScript" in record.getMessage() for record in self._log.records)


@pytest.fixture
def starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Starts:
    return Starts(tmp_path, caplog)


def test_a_second_start_uses_the_cached_choice(starts: Starts) -> None:
    first = starts.start()
    written = starts.cache_file.stat().st_mtime_ns
    second = starts.start()
    assert starts.made == 1
    assert starts.cache_file.stat().st_mtime_ns == written
    assert (second.backend_name, second.batch_size) == (first.backend_name, first.batch_size)
    image = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    np.testing.assert_allclose(second.outputs([image]).scores, first.outputs([image]).scores, atol=1e-4)


def test_other_models_devices_and_options_are_tested_again(starts: Starts) -> None:
    starts.start()
    starts.start(replace(CPU, dtype=torch.bfloat16))
    starts.start(at_once=2)
    starts.start(batch_size=5)
    starts.replace_model(seed=1)
    starts.start()
    assert starts.made == 5
    starts.start(at_once=2, batch_size=4)
    assert starts.made == 6  # a new combination
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
        {"backend": "torchscript"},
        {"at_once": 3},
        {"batch_size": 8},
        {"gpu_jpeg": True},
        {"engines": ("torch 2", "openvino not installed")},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_choice_is_cached_per_key(file: Path, changed: dict[str, object]) -> None:
    SelectionCache(file, KEY).store(CHOICE)
    assert SelectionCache(file, KEY).choice == CHOICE
    assert SelectionCache(file, replace(KEY, **changed)).choice is None  # type: ignore[arg-type]


def test_the_key_names_the_installed_engines() -> None:
    key = CacheKey.of("digest", CPU, BackendOptions(None, 2, None, Path("unused")))
    assert f"torch {version('torch')}" in key.engines
    assert any(engine.startswith("openvino 20") for engine in key.engines)
    assert key.hardware


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
def test_an_unreadable_cache_file_is_replaced(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    cache = SelectionCache(file, KEY)
    assert cache.choice is None
    cache.store(CHOICE)
    assert cache.choice == CHOICE
    json.loads(file.read_text())


@pytest.mark.parametrize(
    "choice",
    [
        {"backend": "nonsense", "batch_size": 8},
        {"backend": "torchscript", "batch_size": 0},
        {"backend": "torchscript", "batch_size": -4},
        {"backend": "torchscript", "batch_size": "many"},
        {"backend": "torchscript", "batch_size": None},
        {"backend": "torchscript", "batch_size": 10**9},
        {"backend": "torchscript"},
        {},
        "torchscript",
        ["torchscript", 8],
        7,
        None,
    ],
    ids=str,
)
def test_an_invalid_choice_is_ignored(file: Path, choice: object) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({str(KEY): choice}))
    assert SelectionCache(file, KEY).choice is None


def test_an_invalid_choice_causes_a_new_selection(starts: Starts) -> None:
    starts.start()
    entries = json.loads(starts.cache_file.read_text())
    (key,) = entries
    starts.cache_file.write_text(json.dumps({key: entries[key] | {"backend": "nonsense"}}))
    starts.start()
    assert starts.made == 2
    stored = json.loads(starts.cache_file.read_text())
    # Measured again, so that the backend and the batch size may differ.
    assert stored[key]["backend"] in {"torchscript", "openvino"}
    measured = {name: stored[key][name] for name in ("backend", "batch_size")}
    assert stored == {key: entries[key] | measured}


def test_only_the_newest_entries_are_kept(file: Path) -> None:
    for number in range(MAX_ENTRIES + 10):
        SelectionCache(file, replace(KEY, at_once=number)).store(BackendChoice("torchscript", number + 1))
    assert len(json.loads(file.read_text())) == MAX_ENTRIES
    assert SelectionCache(file, replace(KEY, at_once=9)).choice is None
    for number in (10, MAX_ENTRIES + 9):
        assert SelectionCache(file, replace(KEY, at_once=number)).choice == BackendChoice(
            "torchscript", number + 1
        )


def test_storing_an_entry_again_drops_no_other(file: Path) -> None:
    for _ in range(3):
        for number in range(3):
            SelectionCache(file, replace(KEY, at_once=number)).store(CHOICE)
    assert len(json.loads(file.read_text())) == 3


@pytest.mark.parametrize("in_the_way", ["file where the folder should be", "folder where the file should be"])
def test_an_unwritable_cache_does_not_stop_the_start(starts: Starts, tmp_path: Path, in_the_way: str) -> None:
    starts.cache_file = tmp_path / "elsewhere" / "backend-selections.json"
    if in_the_way.startswith("file"):
        starts.cache_file.parent.touch()
    else:
        starts.cache_file.mkdir(parents=True)
    for _ in range(2):
        starts.start()
    assert starts.made == 2
    assert [*starts.cache_file.parent.glob("backend-selections.json?*")] == []


WRITES = """
import sys
from pathlib import Path
from tagger.inference.backends.protocol import BackendChoice
from tagger.inference.backends.selection_cache import CacheKey, SelectionCache

file, model = Path(sys.argv[1]), sys.argv[2]
sys.stdin.read()
for number in range(300):
    circumstances = CacheKey(model, "cpu", "torch.float32", "a processor", None, number, None, False, ("torch 2",))
    SelectionCache(file, circumstances).store(BackendChoice("torchscript", 16))
"""


def test_concurrent_writers_leave_a_valid_file(file: Path) -> None:
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
    assert 1 <= len(json.loads(file.read_text())) <= MAX_ENTRIES
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_failed_selection_is_not_cached(starts: Starts, caplog: pytest.LogCaptureFixture) -> None:
    """The next start may have more memory."""
    starts.replace_model(max_batch=0)
    for _ in range(2):
        caplog.clear()
        starts.start()
        assert "the model fails on the generated images" in caplog.text
    assert not starts.cache_file.exists()


def test_a_choice_that_cannot_be_loaded_causes_a_new_selection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache_file = tmp_path / "tiny.pt", tmp_path / "backend-selections.json"
    tiny_artifact(path)
    digest = file_digest(path)
    key = str(CacheKey.of(digest, CPU, BackendOptions(None, 1, 4, cache_file)))
    cache_file.write_text(json.dumps({key: {"backend": "openvino", "batch_size": 4}}))

    class Broken:
        def __init__(self, *_args: object) -> None:
            raise OSError("libopenvino_intel_cpu_plugin.so: cannot open shared object file")

    monkeypatch.setattr(openvino, "OpenVinoBackend", Broken)
    model = load_fastest_model(path, digest, read_manifest(path), CPU, BackendOptions(None, 1, 4, cache_file))
    assert model.backend_name == "torchscript"
