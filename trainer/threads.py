"""Work in threads, ahead of the loop that needs the results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tagger.model.devices import core_count

Item = TypeVar("Item")
Result = TypeVar("Result")


def compute_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int, name: str
) -> Iterator[Result]:
    """Yield the results of `function` in the order of the items, with up to `ahead` of them in progress.

    Args:
        function: called in threads, one for each core
        items: read in this thread, not before they are needed
        ahead: the most results that wait
        name: of the threads
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(core_count(), name) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
