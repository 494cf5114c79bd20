"""Backends that crash: on some processors, an engine ends its process (SIGILL, SIGSEGV). So its first pass is tried in another process.

A crash is recorded in a file beside the compiled models. The backend is not used as long as the file exists.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tagger.photos.files import open_regular
from tagger.system.permissions import create_private_file, make_private_folder
from tagger.system.process import FAULTS

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.model.backends.protocol import BackendName, Conversions
    from tagger.model.devices import Device

TRIAL = "tagger.model.backends.trial"
TIMEOUT_S = 120.0
"""Importing an engine, and converting, compiling and running a network takes some seconds."""


def crash_of(name: BackendName, conversions: Conversions, device: Device) -> str | None:
    """What ended the process in which the backend was tried, now or at an earlier start. None if nothing did."""
    compiled, record = conversions.compiled(name, device), conversions.crash(name, device)
    if compiled is None or record is None or compiled.exists():  # it has run here
        return None
    if record.exists():
        return read_crash(record)
    crash = _try(name, conversions, device)
    if crash is not None:
        with suppress(OSError):  # then the next start tries it again
            make_private_folder(record.parent)
            create_private_file(record)
            record.write_text(crash)
    return crash


def read_crash(record: Path) -> str:
    """What a record says. One that cannot be read says less, but still that the backend is not used."""
    with suppress(OSError), open_regular(record) as file:
        return file.read().decode(errors="replace")
    return "its record cannot be read"


def _try(name: BackendName, conversions: Conversions, device: Device) -> str | None:
    arguments = str(conversions.artifact), conversions.digest, name, device.kind, device.precision
    try:
        code = subprocess.run(
            [sys.executable, "-P", "-m", TRIAL, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return f"it does not end within {TIMEOUT_S:.0f} s"
    return signal.Signals(-code).name if -code in FAULTS else None
