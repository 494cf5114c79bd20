"""The Celery app of a worker, and the order in which it reads its queues."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.utils.scheduling import cycle_by_name
from rig.servers import KEYS

from worker.celery_patches import IN_A_ROW, InteractiveFirst, database_unreachable
from worker.producer import TRANSPORT_OPTIONS, make_app

INTERACTIVE, BULK = KEYS.queues.values()


def sources_of(order: InteractiveFirst, waiting: dict[str, int], count: int) -> list[str]:
    """The queues of the next `count` messages. Redis serves the first queue that has one."""
    sources = []
    for _ in range(count):
        queue = next(name for name in order.consume(2) if waiting[name])
        waiting[queue] -= 1
        sources.append(order.rotate(queue))
    return sources


def order() -> InteractiveFirst:
    strategy = cycle_by_name(TRANSPORT_OPTIONS["queue_order_strategy"])()
    assert isinstance(strategy, InteractiveFirst)
    strategy.update(KEYS.queues.values())
    return strategy


def test_bulk_messages_are_read_despite_a_steady_stream_of_interactive_ones() -> None:
    sources = sources_of(order(), {INTERACTIVE: 100, BULK: 100}, 40)
    assert sources == ([INTERACTIVE] * IN_A_ROW + [BULK]) * 10


def test_interactive_messages_are_read_before_waiting_bulk_ones() -> None:
    queues = order()
    waiting = {INTERACTIVE: 0, BULK: 100}
    assert sources_of(queues, waiting, 5) == [BULK] * 5
    waiting[INTERACTIVE] = 1
    assert sources_of(queues, waiting, 2) == [INTERACTIVE, BULK]


def test_a_late_bulk_message_is_read_next() -> None:
    queues = order()
    waiting = {INTERACTIVE: 100, BULK: 0}
    assert sources_of(queues, waiting, 10) == [INTERACTIVE] * 10
    waiting[BULK] = 10
    assert sources_of(queues, waiting, 5) == [BULK, INTERACTIVE, INTERACTIVE, INTERACTIVE, BULK]


@pytest.fixture
def away() -> Iterator[None]:
    database_unreachable.set()
    yield
    database_unreachable.clear()


@pytest.mark.usefixtures("away")
def test_a_worker_that_does_not_reach_the_database_reads_no_chunks() -> None:
    queues = InteractiveFirst()
    queues.update([KEYS.ticks, *KEYS.queues.values()])
    assert queues.consume(3) == [KEYS.ticks]


def test_nothing_is_imported_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strangers_module.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        make_app("memory://", KEYS).loader.import_task_module("strangers_module")
