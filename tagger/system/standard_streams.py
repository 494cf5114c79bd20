"""Standard streams that the caller of a program closed."""

import os
import sys
from pathlib import Path


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed, as in `tagger query >&-`.

    Python's stream is None then, and the next file that is opened would get its descriptor.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - it stays open, as other streams
