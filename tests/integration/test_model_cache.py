"""A model is loaded once, tried again, and run by the backend that this machine's measurement chose."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update
from support.artifacts import LABELS, SIZE, tiny_artifact
from support.databases import execute, read_rows

from tagger.database.connection import Database
from tagger.database.tables import backend_selections
from tagger.errors import ModelRefused, TaggerError
from tagger.jobs.processing import model_cache
from tagger.jobs.processing.model_cache import ModelCache
from tagger.model.artifact import file_digest, read_manifest
from tagger.model.backends import BackendOptions, Conversions, SelectionKey, openvino
from tagger.model.devices import Device
from tagger.model.model import Model, load_fastest_model
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.registry import RegisteredModel, StoredSelections, add_model, resolve_models
from tagger.settings import Settings
from tagger.tags import models_in_use


class Loads:
    """Which models are loaded, as they are. `gates` hold up those of a name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.problems: dict[str, Exception] = {}
        load = model_cache._load_model

        def record(registered: RegisteredModel, *arguments: object) -> object:
            self.names.append(registered.name)
            if registered.name in self.gates:
                self.gates[registered.name].wait(30)
            if registered.name in self.problems:
                raise self.problems[registered.name]
            return load(registered, *arguments)

        monkeypatch.setattr(model_cache, "_load_model", record)


@pytest.fixture
def loads(monkeypatch) -> Loads:
    return Loads(monkeypatch)


@pytest.fixture
def models(database, tmp_path) -> list[RegisteredModel]:
    found = []
    for number, name in enumerate(("good", "bad", "slow"), 1):
        tiny_artifact(tmp_path / f"{name}.pt", LABELS[:number], name=name)
        found.append(add_model(database, tmp_path / f"{name}.pt"))
    return found


@pytest.fixture
def cache(database, tmp_path) -> Iterator[ModelCache]:
    settings = Settings(data_folder=tmp_path / "data", device="cpu", backend="torchscript")
    cache = ModelCache(database, settings)
    yield cache
    cache.close()


@pytest.mark.parametrize("others", [True, False], ids=["beside another", "alone"])
def test_a_model_that_cannot_be_loaded_is_tried_once(cache, models, loads, others):
    good, bad, _ = models
    loads.problems["bad"] = ModelRefused(path=bad.file, reason="its code is not allowed")
    for _ in range(5):
        if others:
            assert list(cache.get([good.id, bad.id]).models) == [good.id]
        else:
            with pytest.raises(ModelRefused, match="not allowed"):
                cache.get([bad.id])
    assert loads.names.count("bad") == 1


def test_it_is_tried_again_after_a_while_and_once_its_file_has_changed(cache, models, loads, monkeypatch):
    _, bad, _ = models
    loads.problems["bad"] = RuntimeError("no memory")

    def attempts() -> int:
        with pytest.raises((TaggerError, RuntimeError)):
            cache.get([bad.id])
        return loads.names.count("bad")

    assert [attempts(), attempts()] == [1, 1]
    with monkeypatch.context() as patch:
        patch.setattr(model_cache, "RETRY_S", -1.0)
        assert attempts() == 2
    away = bad.file.rename(bad.file.with_name("away.pt"))
    assert attempts() == 2, "without a file, nothing is loaded"
    loads.problems.clear()
    away.rename(bad.file)
    assert list(cache.get([bad.id]).models) == [bad.id]
    assert loads.names.count("bad") == 3


def test_models_that_are_loaded_or_failed_do_not_wait_while_another_is_loaded(cache, models, loads):
    good, bad, slow = models
    loads.problems["bad"] = RuntimeError("no memory")
    cache.get([good.id, bad.id])
    loads.gates["slow"] = threading.Event()
    thread = threading.Thread(target=cache.get, args=([slow.id],))
    thread.start()
    while "slow" not in loads.names:
        time.sleep(0.01)
    assert list(cache.get([good.id, bad.id]).models) == [good.id]
    with pytest.raises(RuntimeError):
        cache.get([bad.id])
    assert thread.is_alive()
    loads.gates["slow"].set()
    thread.join()
    assert list(cache.get([good.id, slow.id]).models) == [good.id, slow.id]
    assert loads.names == ["good", "bad", "slow"]


@pytest.fixture
def photos(test_data) -> list[Pixels]:
    resize = Resize(size=224, short_side=224, fit="stretch")
    files = sorted((test_data / "landmarks" / "test").rglob("*.jpg"))[::100][:12]
    return [decode_photo(file.read_bytes(), resize, max_pixels=10**8).pixels for file in files]


def test_the_shipped_models_run_in_one_pass_with_the_results_of_two(database, tmp_path, photos):
    landmarks, things = (
        resolve_models(database, models_in_use.shipped_name(kind))[0] for kind in models_in_use.KINDS
    )
    settings = Settings(data_folder=tmp_path, device="cpu", backend="openvino-int8")

    def loaded(*models: RegisteredModel) -> list[Model]:
        with closing(ModelCache(database, settings)) as cache:
            return [*cache.get(model.id for model in models).models.values()]

    both, things_of_both = loaded(landmarks, things)
    (landmarks_alone,), (things_alone,) = loaded(landmarks), loaded(things)
    assert both.things is things_of_both
    assert landmarks_alone.things is None
    outputs = both.predict_all(photos)
    expected, scores = landmarks_alone.predict(photos), things_alone.predict(photos).scores
    np.testing.assert_allclose(outputs[both].scores, expected.scores, atol=1e-3)
    np.testing.assert_allclose(outputs[both].embeddings, expected.embeddings, atol=1e-2)
    np.testing.assert_allclose(outputs[things_of_both].scores, scores, atol=1e-3)
    np.testing.assert_allclose(things_of_both.predict(photos).scores, scores, atol=1e-3)
    assert scores.max() > things.manifest.threshold


TIMEOUT_S = 240
THREADS_AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(4)
errors = []
def run(call):
    barrier.wait()
    try:
        call()
    except BaseException as error:
        errors.append(repr(error))
def at_once(call):
    threads = [threading.Thread(target=run, args=(call,)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not errors, errors
"""
FASTEST_MODEL = """
from pathlib import Path
import numpy as np
from tagger.model.artifact import file_digest, read_manifest
from tagger.model.backends import BackendOptions, Conversions
from tagger.model.devices import Device
from tagger.model.model import load_fastest_model
ARTIFACT, FOLDER, BACKEND = Path({artifact!r}), Path({folder!r}), {backend!r}
class Selections:
    find = staticmethod(lambda key: BACKEND)
    store = staticmethod(lambda key, choice: None)
manifest, digest = read_manifest(ARTIFACT), file_digest(ARTIFACT)
images = [np.zeros((manifest.input.size,) * 2 + (3,), np.uint8)]
def load():
    options = BackendOptions(None, 2)
    conversions = Conversions(ARTIFACT, digest, FOLDER)
    model = load_fastest_model(manifest, Device("cpu", "float32", 8), options, Selections, conversions)
    assert model.backend_name == BACKEND
    return model
"""
LOADED_IN_ONE_THREAD = "model = load()\nat_once(lambda: model.predict(images))"
LOADED_IN_EACH_THREAD = "at_once(lambda: load().predict(images))"
OWN_PROGRAM = """
import io
import pillow_heif, tagger
from PIL import Image
pillow_heif.register_heif_opener()
photos = []
for format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "HEIF"):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, format)
    photos.append(file.getvalue())
models = {}
at_once(lambda: models.update({threading.get_ident(): tagger.load_model(device="cpu")}))
at_once(lambda: [model.predict(photo) for model in models.values() for photo in photos])
"""
BUCKETS = """
from tagger.photos.paths import parse_path
from tagger.photos.source import open_source
from tagger.errors import TaggerError
def look():
    try:
        open_source(parse_path("s3://bucket/prefix")).mount()
    except TaggerError:
        pass
at_once(look)
"""


def ends(*program: str, **variables: str) -> None:
    """Run a program in a fresh process; fail if it does not end well within TIMEOUT_S."""
    result = subprocess.run(
        [sys.executable, "-c", "\n".join((THREADS_AT_ONCE, *program))],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


ARTIFACT = str(Path(__file__).parents[2] / "tagger" / "shipped" / "landmarks.pt")


@pytest.fixture(scope="module")
def conversions(tmp_path_factory) -> str:
    """A folder with the shipped model as it was compiled by an earlier process."""
    folder = str(tmp_path_factory.mktemp("conversions"))
    for backend in ("openvino", "openvino-int8"):
        ends(FASTEST_MODEL.format(artifact=ARTIFACT, folder=folder, backend=backend), "load()")
    return folder


@pytest.mark.parametrize("use", [LOADED_IN_ONE_THREAD, LOADED_IN_EACH_THREAD])
@pytest.mark.parametrize("backend", ["openvino-int8", "openvino", "torchscript"])
@pytest.mark.parametrize("_run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in range(1, 5))])
def test_a_model_is_used_by_several_threads_from_its_first_pass(conversions, backend, use, _run):
    ends(FASTEST_MODEL.format(artifact=ARTIFACT, folder=conversions, backend=backend), use)


@pytest.mark.parametrize("_run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in range(1, 5))])
def test_several_threads_of_a_program_load_and_use_models_at_once(tmp_path, _run):
    ends(OWN_PROGRAM, TAGGER_DATA_FOLDER=str(tmp_path))


@pytest.mark.parametrize("_run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in range(1, 5))])
def test_several_threads_open_the_first_bucket_at_once(tmp_path, _run):
    endpoint = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-west-1"}
    ends(
        BUCKETS,
        TAGGER_DATA_FOLDER=str(tmp_path),
        **endpoint,
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )


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
def machine(tmp_path, database, caplog) -> Machine:
    return Machine(tmp_path, database, caplog)


def rows(database: Database) -> list[Any]:
    return read_rows(database, select(backend_selections))


def test_a_second_machine_of_the_same_kind_measures_nothing(machine, tmp_path, database, caplog):
    first = machine.start()
    stored = rows(database)
    (tmp_path / "second").mkdir()
    second = Machine(tmp_path / "second", database, caplog).start()
    assert machine.measured == 1
    assert rows(database) == stored
    assert second._backend.name == first._backend.name
    image = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    np.testing.assert_allclose(second.outputs([image]).scores, first.outputs([image]).scores, atol=1e-4)


@pytest.mark.postgresql
def test_a_choice_is_stored_per_key_and_replaces_the_former(database):
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
    selections.store(KEY, "openvino")
    (row,) = rows(database)
    assert (row.backend, row.batch_size) == ("openvino", 4)
    assert (row.model_digest, row.device, row.hardware) == ("digest", "cpu", "a processor")
    assert row.engines == ["torch 2", "openvino 2026"]


def test_processors_of_one_name_with_other_instruction_sets_are_other_machines(machine, monkeypatch):
    machine.start()
    monkeypatch.setattr("tagger.model.backends.instruction_sets", lambda: {"avx2", "avx_vnni"})
    machine.start()
    machine.start()
    assert machine.measured == 2


def test_an_invalid_choice_causes_a_new_selection(machine, database):
    machine.start()
    execute(database, update(backend_selections).values(backend="nonsense"))
    machine.start()
    assert machine.measured == 2
    (row,) = rows(database)
    assert row.backend in {"torchscript", "openvino"}


def test_a_failed_selection_is_not_stored(machine, database, caplog):
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
def test_a_choice_that_cannot_be_loaded_causes_a_new_selection(machine, database, monkeypatch, error, stored):
    """It is stored for all machines of this kind unless the cause can pass."""
    machine.start()
    execute(database, update(backend_selections).values(backend="openvino"))

    class Broken:
        def __init__(self, *_args: object) -> None:
            raise error

    monkeypatch.setattr(openvino, "OpenVinoBackend", Broken)
    assert machine.start()._backend.name == "torchscript"
    (row,) = rows(database)
    assert row.backend == stored


def test_processes_that_start_at_once_select_one_after_the_other(machine, database, tmp_path):
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
