"""Measures the web page of a large library: response times, CPU time and memory of its views.

    python -m bench.page [--photos 100000] [--files 10000] [--rounds 5]

Creates a SQLite database with so many photos (see tests/rig/large_library.py), the first of them with real files, and sends
requests to a real `tagger serve`.
"""

import argparse
import tempfile
import time
from pathlib import Path

from bench.page.library import make_library
from bench.page.views import measure_views
from bench.processes import SHIPPED
from bench.report import note, print_heading
from tests.rig.large_library import JOBS


def main() -> None:
    """Measure the web page over a large library."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=main.__doc__)
    parser.add_argument("--photos", type=int, default=100_000, help=f"a multiple of {JOBS} [100000]")
    parser.add_argument("--files", type=int, default=10_000, help="photos with real files [10000]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    args = parser.parse_args()
    if args.photos % JOBS:
        parser.error(f"--photos: use a multiple of {JOBS}")
    print_heading("The page")
    settings = {"model": str(SHIPPED), "device": "cpu"}
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        note(f"creating {args.photos} photos, {args.files} of them with files")
        start = time.monotonic()
        library = make_library(Path(name), args.photos, args.files)
        note(f"created in {time.monotonic() - start:.0f} s")
        measure_views(library, args.rounds, settings)


if __name__ == "__main__":
    main()
