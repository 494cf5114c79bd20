"""Traces of jobs that are recorded and of the chunks that workers process, for receivers of OpenTelemetry.

Without a receiver, everything here does nothing.

Spans name jobs, chunks and photos by number. They carry neither paths nor the texts of errors, which can contain paths.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

FLUSH_S = 2.0
"""How long a process that ends sends the last spans."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

TraceContext = Any
"""The parent of spans in other threads; None without a receiver."""


class _Tracing:
    """What `start_tracing` made."""

    tracer: Any = None
    provider: Any = None


def start_tracing(instance: str) -> None:
    """Send spans until `stop_tracing`, if OpenTelemetry's own variables name a receiver. Call it after the process has forked.

    The OTLP exporter reads these variables itself, so they are no settings.
    """
    if _Tracing.tracer is not None or not _names_receiver():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        log.warning("No traces are sent: run pip install 'landmark-tagger[otel]'")
        return

    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "landmark-tagger"}
    resource = Resource.create(name | {"service.instance.id": instance})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _Tracing.provider, _Tracing.tracer = provider, provider.get_tracer("tagger")


def _names_receiver() -> bool:
    variables = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return (
        not is_off
        and os.environ.get("OTEL_TRACES_EXPORTER") != "none"
        and any(map(os.environ.get, variables))
    )


def stop_tracing() -> None:
    """Send the spans that wait, for at most FLUSH_S, and record no more."""
    provider, _Tracing.provider, _Tracing.tracer = _Tracing.provider, None, None
    if provider is not None:
        # In a thread, which is left behind: the SDK's own time limits do not end a request.
        thread = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(FLUSH_S)


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[dict[str, str | int]]:
    """A span in the calling thread, a child of the one around it. What is added to the yielded dict becomes its attributes."""
    added: dict[str, str | int] = {}
    if _Tracing.tracer is None:
        yield added
        return
    with _Tracing.tracer.start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield added
        except BaseException as error:
            from opentelemetry.trace import StatusCode

            current.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            current.set_attributes(_named(added))


@contextmanager
def stage_span(name: str) -> Iterator[None]:
    """A span for work on a chunk, in a thread that works for one just now; else nothing: batches belong to several chunks."""
    if _Tracing.tracer is None or not _is_in_chunk():
        yield
        return
    with span(name):
        yield


def current_traceparent() -> str | None:
    """The calling thread's span in the W3C's format, for spans elsewhere that come of it. None if it is not recorded."""
    if _Tracing.tracer is None:
        return None
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if not get_current_span().is_recording():
        return None
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers.get("traceparent")


def link_to(traceparent: str | None) -> None:
    """Link the calling thread's span to one of another process.

    A link, and no parent: a trace of a job over a million photos could be neither shown nor sampled.
    """
    if _Tracing.tracer is None or traceparent is None:
        return
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    origin = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    get_current_span().add_link(get_current_span(origin).get_span_context())


def is_traceparent(value: object) -> bool:
    """Whether it is what `current_traceparent` returns."""
    return isinstance(value, str) and _TRACEPARENT.fullmatch(value) is not None


def current_trace() -> TraceContext:
    """The calling thread's span, for threads that work for it."""
    if _Tracing.tracer is None:
        return None
    from opentelemetry.context import get_current

    return get_current()


@contextmanager
def in_trace(trace: TraceContext) -> Iterator[None]:
    """Spans of the calling thread belong to `trace` inside the context."""
    if trace is None:
        yield
        return
    from opentelemetry.context import attach, detach

    token = attach(trace)
    try:
        yield
    finally:
        detach(token)


def now_ns() -> int:
    """The time of a span's start or end."""
    return time.time_ns()


def record_span(name: str, trace: TraceContext, start_ns: int, end_ns: int, **attributes: str | int) -> None:
    """Add a span that has ended to `trace`: one batch of the model has photos of several chunks."""
    if _Tracing.tracer is None or trace is None:
        return
    ended = _Tracing.tracer.start_span(name, trace, start_time=start_ns, attributes=_named(attributes))
    ended.end(end_ns)


def _named(attributes: dict[str, str | int]) -> dict[str, str | int]:
    return {f"tagger.{name}": value for name, value in attributes.items()}


def _is_in_chunk() -> bool:
    from opentelemetry.trace import get_current_span

    return bool(get_current_span().get_span_context().is_valid)
