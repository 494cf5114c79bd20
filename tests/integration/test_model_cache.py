"""The models of a process: what cannot be loaded is not tried again and again, and holds up nobody."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.artifacts import LABELS, tiny_artifact

from tagger.database.connection import Database
from tagger.errors import ModelRefused, TaggerError
from tagger.jobs.processing import model_cache
from tagger.jobs.processing.model_cache import ModelCache
from tagger.registry.registered_models import RegisteredModel, add_model
from tagger.settings import Settings


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
            return load(registered, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(model_cache, "_load_model", record)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    return Loads(monkeypatch)


@pytest.fixture
def models(database: Database, tmp_path: Path) -> list[RegisteredModel]:
    """`good`, `bad` and `slow`."""
    found = []
    for number, name in enumerate(("good", "bad", "slow"), 1):
        tiny_artifact(tmp_path / f"{name}.pt", LABELS[:number], name=name)
        found.append(add_model(database, tmp_path / f"{name}.pt"))
    return found


@pytest.fixture
def cache(database: Database, tmp_path: Path) -> Iterator[ModelCache]:
    settings = Settings(data_folder=tmp_path / "data", device="cpu", backend="torchscript")
    cache = ModelCache(database, settings)
    yield cache
    cache.close()


@pytest.mark.parametrize("others", [True, False], ids=["beside another", "alone"])
def test_a_model_that_cannot_be_loaded_is_tried_once(
    cache: ModelCache, models: list[RegisteredModel], loads: Loads, others: bool
) -> None:
    good, bad, _ = models
    loads.problems["bad"] = ModelRefused(path=bad.file, reason="its code is not allowed")
    for _ in range(5):
        if others:
            assert list(cache.get([good.id, bad.id]).models) == [good.id]
        else:
            with pytest.raises(ModelRefused, match="not allowed"):
                cache.get([bad.id])
    assert loads.names.count("bad") == 1


def test_it_is_tried_again_after_a_while_and_once_its_file_has_changed(
    cache: ModelCache, models: list[RegisteredModel], loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_models_that_are_loaded_or_failed_do_not_wait_while_another_is_loaded(
    cache: ModelCache, models: list[RegisteredModel], loads: Loads
) -> None:
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
