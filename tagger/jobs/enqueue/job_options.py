"""The options that jobs of each kind store, checked by the parsers that read them."""

from collections.abc import Mapping
from typing import Any

from tagger.database.enums import JobKind
from tagger.jobs.enqueue.backfill import backfill_from_options
from tagger.jobs.enqueue.metadata_options import UNDO_JOB, MetadataOptions
from tagger.jobs.enqueue.tag_jobs import PATHS, tag_job_paths
from tagger.ledger.jobs import TRACE, WRITE
from tagger.system.tracing import is_traceparent

_NAMES = {
    JobKind.TAG: {PATHS, WRITE},
    JobKind.RETRY: {WRITE},
    JobKind.WRITE: {WRITE},
    JobKind.UNDO: {UNDO_JOB},
}


def check_job_options(kind: JobKind, options: Mapping[str, Any]) -> None:
    """Check that a job of this kind may store these options.

    Raises:
        ValueError: it stores no such options.
    """
    if TRACE in options:
        if not is_traceparent(options[TRACE]):
            raise ValueError(f"{TRACE} is not the span of a trace")
        options = {name: value for name, value in options.items() if name != TRACE}
    if kind in {JobKind.BACKFILL, JobKind.COMPARE}:
        others = {name: value for name, value in options.items() if name != "what"}
        backfill_from_options(options.get("what", ""), others)
        return
    if unknown := options.keys() - _NAMES[kind]:
        raise ValueError(f"a job of the kind {kind} has no option {min(unknown)!r}")
    tag_job_paths(options)
    if MetadataOptions.from_job_options(options) is None and kind is JobKind.WRITE:
        raise ValueError("it has no metadata options")  # and would undo writes
    undo_job = options.get(UNDO_JOB)
    if undo_job is not None and (type(undo_job) is not int or not 1 <= undo_job < 2**63):
        raise ValueError(f"{UNDO_JOB} is not the number of a job")
