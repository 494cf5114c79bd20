"""Stored backend selections: machines of one kind select once; each key has its own."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update
from support.artifacts import SIZE, tiny_artifact

from tagger.database.connection import Database
from tagger.database.tables import backend_selections
from tagger.model.artifact import file_digest, read_manifest
from tagger.model.backends import openvino
from tagger.model.backends.protocol import BackendOptions, Conversions, SelectionKey
from tagger.model.devices import Device
from tagger.model.model import Model, load_fastest_model
from tagger.registry.registered_models import StoredSelections

CPU = Device("cpu", "float32", 8)
KEY = SelectionKey(
    model="digest",
    device="cpu",
    precision="torch.float32",
    hardware="a processor",
    instruction_sets=("avx2", "avx_vnni"),
    backend=None,
    at_once=2,
    batch_size=4,
    engines=("torch 2", "openvino 2026"),
)
CHOICE = "torchscript"


class Machine:
    """Starts a model. `measured` counts the selections, each of which compares OpenVINO with TorchScript."""

    def __init__(self, folder: Path, database: Database, caplog: pytest.LogCaptureFixture) -> None:
        self._artifact = folder / "tiny.pt"
        self._database = database
        self._log = caplog
        tiny_artifact(self._artifact)
        caplog.set_level(logging.INFO, logger="tagger")

    def replace_model(self, *, seed: int = 0, max_batch: int = 10_000) -> None:
        tiny_artifact(self._artifact, seed=seed, max_batch=max_batch)

    def start(self, device: Device = CPU, *, at_once: int = 1, folder: Path | None = None) -> Model:
        options = BackendOptions(backend=None, at_once=at_once)
        manifest = read_manifest(self._artifact)
        selections = StoredSelections(self._database)
        return load_fastest_model(manifest, device, options, selections, self.conversions(folder))

    def conversions(self, folder: Path | None = None) -> Conversions:
        return Conversions(self._artifact, file_digest(self._artifact), folder)

    @property
    def measured(self) -> int:
        return sum("differs from torchscript" in record.getMessage() for record in self._log.records)


@pytest.fixture
def machine(tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture) -> Machine:
    return Machine(tmp_path, database, caplog)


def rows(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(backend_selections)))


def test_a_second_machine_of_the_same_kind_measures_nothing(
    machine: Machine, tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    first = machine.start()
    stored = rows(database)
    (tmp_path / "second").mkdir()
    second = Machine(tmp_path / "second", database, caplog).start()
    assert machine.measured == 1
    assert rows(database) == stored
    assert second._backend.name == first._backend.name
    image = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    np.testing.assert_allclose(second.outputs([image]).scores, first.outputs([image]).scores, atol=1e-4)


def test_a_choice_is_stored_per_key(database: Database) -> None:
    selections = StoredSelections(database)
    selections.store(KEY, CHOICE)
    assert selections.find(KEY) == CHOICE
    changes: list[dict[str, Any]] = [
        {"model": "another"},
        {"device": "cuda"},
        {"precision": "torch.bfloat16"},
        {"hardware": "another"},
        {"backend": "torchscript"},
        {"at_once": 3},
        {"batch_size": 8},
        {"engines": ("torch 2", "openvino not installed")},
        {"instruction_sets": ("avx2",)},
    ]
    for changed in changes:
        assert selections.find(replace(KEY, **changed)) is None, changed


@pytest.mark.postgresql
def test_a_choice_that_is_stored_again_replaces_the_former(database: Database) -> None:
    selections = StoredSelections(database)
    selections.store(KEY, CHOICE)
    selections.store(KEY, "openvino")
    (row,) = rows(database)
    assert (row.backend, row.batch_size) == ("openvino", 4)
    assert (row.model_digest, row.device, row.hardware) == ("digest", "cpu", "a processor")
    assert row.engines == ["torch 2", "openvino 2026"]


def test_processors_of_one_name_with_other_instruction_sets_are_other_machines(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.start()
    monkeypatch.setattr("tagger.model.backends.protocol.instruction_sets", lambda: {"avx2", "avx_vnni"})
    machine.start()
    machine.start()
    assert machine.measured == 2


def test_an_invalid_choice_causes_a_new_selection(machine: Machine, database: Database) -> None:
    machine.start()
    with database.write() as connection:
        connection.execute(update(backend_selections).values(backend="nonsense"))
    machine.start()
    assert machine.measured == 2
    (row,) = rows(database)
    assert row.backend in {"torchscript", "openvino"}


def test_a_failed_selection_is_not_stored(
    machine: Machine, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The next start may have more memory."""
    machine.replace_model(max_batch=0)
    for _ in range(2):
        caplog.clear()
        machine.start()
        assert "the model fails on the generated images" in caplog.text
    assert rows(database) == []


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (RuntimeError("an operation it does not know"), "torchscript"),
        (OSError("libopenvino_intel_cpu_plugin.so: cannot open shared object file"), "openvino"),
    ],
)
def test_a_choice_that_cannot_be_loaded_causes_a_new_selection(
    machine: Machine,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    stored: str,
) -> None:
    """It is stored for all machines of this kind unless the cause can pass."""
    machine.start()
    with database.write() as connection:
        connection.execute(update(backend_selections).values(backend="openvino"))

    class Broken:
        def __init__(self, *_args: object) -> None:
            raise error

    monkeypatch.setattr(openvino, "OpenVinoBackend", Broken)
    assert machine.start()._backend.name == "torchscript"
    (row,) = rows(database)
    assert row.backend == stored


def test_processes_that_start_at_once_select_one_after_the_other(
    machine: Machine, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "conversions"
    conversions = machine.conversions(folder)
    with ThreadPoolExecutor(1) as pool:
        with conversions.lock():
            second = pool.submit(machine.start, folder=folder)
            with pytest.raises(TimeoutError):
                second.result(0.5)
            key = SelectionKey.of(conversions, CPU, BackendOptions(None, 1))
            StoredSelections(database).store(key, "torchscript")
        assert second.result(60).backend_name == "torchscript"
    assert machine.measured == 0
