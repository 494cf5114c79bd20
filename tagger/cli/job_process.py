"""One of the processes of a local job (see job_processes), which runs `python -m tagger.cli.job_process`.

It reads a line of JSON from its standard input, which is also its lifeline, and writes lines of JSON to its
standard output: stored photos with their lines, the progress of the last step, and the error that ends it.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import sys
import threading
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagger.processes.interruption import leave_messages_to_parent, open_closed_streams, run_interruptible
from tagger.processes.pool import STDIN, follow_parent
from tagger.processes.process import postpone_collection, quiet_threads, resume_collection
from tagger.processes.stall import unwatch, watch, watch_start

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tagger.cli.session import Session
    from tagger.errors import TaggerError
    from tagger.jobs.processing.chunk_runner import StoredBatch

STDOUT, STDERR = 1, 2


def main() -> None:
    """Run chunks of the job until none is left, or the parent stops this process."""
    open_closed_streams()
    postpone_collection()
    quiet_threads()
    watch_start()
    with socket.socket(fileno=os.dup(STDIN)) as parent, parent.makefile("rb", buffering=0) as lines:
        request = json.loads(lines.readline())
    follow_parent()
    name, settings = f"{request['command']}.{request['number']}", request["settings"]
    watch(name, Path(settings["data_folder"]), settings["stall_timeout_s"])
    try:
        run_interruptible(partial(_run, request), "")
    finally:
        unwatch()
        gc.freeze()  # as commands end (see main)


def _run(request: Mapping[str, Any]) -> None:
    leave_messages_to_parent()
    from tagger.cli.output import console
    from tagger.cli.session import close_sessions
    from tagger.errors import error_document

    console.command = f"{request['command']}.{request['number']}"
    console.verbosity = request["verbosity"]
    results = _Results()
    try:
        _run_job(request, results)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        results.write({"error": error_document(_stated(error))})
        sys.exit(1)
    finally:
        close_sessions()


def _run_job(request: Mapping[str, Any], results: _Results) -> None:
    from tagger.cli.session import open_session
    from tagger.jobs.processing.local_jobs import JobThreads
    from tagger.jobs.processing.model_cache import share_memory
    from tagger.settings import Settings

    logging.getLogger("tagger.settings").setLevel(logging.ERROR)  # the parent has warned of variables
    session = open_session(Settings(**request["settings"]), waits=True)
    share_memory(session.settings, request["count"])
    on_stored = _Reporter(session, request["job"], request["hidden"], results).report
    resume_collection()
    with JobThreads(session.database, session.settings, request["job"], is_shared=True) as threads:
        threads.run(on_stored, lambda *step: results.write({"step": step}))


class _Results:
    """Writes documents to the parent. What libraries print goes to stderr. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file = os.fdopen(os.dup(STDOUT), "wb")
        os.dup2(STDERR, STDOUT)

    def write(self, document: Mapping[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps(document).encode() + b"\n")
            self._file.flush()


class _Reporter:
    """Reports stored photos, each with its line if `hidden`, the outcomes without one, is given."""

    def __init__(self, session: Session, job: int, hidden: Collection[str] | None, results: _Results) -> None:
        from tagger.cli.output.photo_lines import StoredLines
        from tagger.database.enums import Outcome

        settings, database = session
        self._results = results
        self._lock = threading.Lock()
        self._lines = (
            None if hidden is None else StoredLines(database, settings, job, {*map(Outcome, hidden)})
        )

    def report(self, stored: StoredBatch) -> None:
        """Report a stored batch. Several threads call this."""
        with self._lock:
            lines = [] if self._lines is None else self._lines.of(stored)
        self._results.write({"stored": len(stored), "lines": lines})


def _stated(error: Exception) -> TaggerError:
    """What a command says of the error. Of an unexpected one, the traceback is printed, too."""
    from tagger.cli.program import stated_os_error
    from tagger.database.engine import DatabaseError, reason_of, stated_error
    from tagger.errors import TaggerError, Unavailable
    from tagger.pipeline.requests import last_line

    match error:
        case TaggerError():
            return error
        case OSError():
            return stated_os_error(error)
        case DatabaseError():
            return stated_error(error, reason_of(error))
    traceback.print_exception(error)
    return Unavailable(reason=f"An error in this program ({last_line(error)}); please report it.")


if __name__ == "__main__":
    main()
