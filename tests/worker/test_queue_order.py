"""Which queue is asked first."""

from kombu.utils.scheduling import cycle_by_name

from worker.celery_settings import QUEUES, TRANSPORT_OPTIONS
from worker.queue_order import IN_A_ROW, InteractiveFirst

URGENT, BULK = QUEUES.values()


def taken(order: InteractiveFirst, waiting: dict[str, int], count: int) -> list[str]:
    """Where so many messages come from, as Redis gives them: from the first queue that has one."""
    came = []
    for _ in range(count):
        queue = next(name for name in order.consume(2) if waiting[name])
        waiting[queue] -= 1
        came.append(order.rotate(queue))
    return came


def order() -> InteractiveFirst:
    made = cycle_by_name(TRANSPORT_OPTIONS["queue_order_strategy"])()
    assert isinstance(made, InteractiveFirst)
    made.update(QUEUES.values())
    return made


def test_a_steady_stream_of_interactive_messages_leaves_bulk_its_turns() -> None:
    came = taken(order(), {URGENT: 100, BULK: 100}, 40)
    assert came == ([URGENT] * IN_A_ROW + [BULK]) * 10


def test_interactive_messages_go_first_however_many_bulk_ones_wait() -> None:
    queues = order()
    waiting = {URGENT: 0, BULK: 100}
    assert taken(queues, waiting, 5) == [BULK] * 5
    waiting[URGENT] = 1
    assert taken(queues, waiting, 2) == [URGENT, BULK]


def test_bulk_that_comes_late_has_the_next_turn_and_no_more() -> None:
    queues = order()
    waiting = {URGENT: 100, BULK: 0}
    assert taken(queues, waiting, 10) == [URGENT] * 10
    waiting[BULK] = 10
    assert taken(queues, waiting, 5) == [BULK, URGENT, URGENT, URGENT, BULK]


def test_a_worker_of_one_queue_takes_from_it_alone() -> None:
    queues = order()
    queues.update([BULK])
    assert queues.consume(1) == [BULK]
    queues.update([URGENT])
    assert taken(queues, {URGENT: 9}, 9) == [URGENT] * 9
