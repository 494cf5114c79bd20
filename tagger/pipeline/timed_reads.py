"""Reads photos within a time limit, for callers that no watch thread looks after (see reader_pool)."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.files import PhotoBytes
from tagger.photos.source import PhotoSource
from tagger.pipeline.failures import timeout_text
from tagger.pipeline.requests import Limits, read_photo_bytes
from tagger.pipeline.running_child import STOP_CHECK_S, ParentStopping


def read_in_time(
    source: PhotoSource, path: str, limits: Limits, must_stop: Callable[[], bool] = lambda: False
) -> PhotoBytes:
    """Read one whole photo. A read that hangs is left to its thread.

    Raises:
        PhotoFailed: as `PhotoSource.read`, or it took too long.
        ParentStopping: `must_stop` became true.
    """
    result: Future[PhotoBytes] = Future()

    def read() -> None:
        try:
            result.set_result(read_photo_bytes(source, path, limits))
        except BaseException as error:  # noqa: BLE001 - raised to the caller
            result.set_exception(error)

    # A daemon thread: one that hangs in the kernel must not keep the process alive.
    threading.Thread(target=read, name="read", daemon=True).start()
    deadline = time.monotonic() + limits.timeout_s
    while not wait([result], max(0.0, min(STOP_CHECK_S, deadline - time.monotonic()))).done:
        if must_stop():
            raise ParentStopping
        if time.monotonic() > deadline:
            raise PhotoFailed(FailureKind.TIMED_OUT, timeout_text(limits.timeout_s))
    return result.result()
