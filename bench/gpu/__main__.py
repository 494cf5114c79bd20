"""Proves and measures tagging on a GPU: its results, its speed beside the limits of the machine, and its faults.

    python -m bench.gpu --out FOLDER [--device auto] [--photos 4000] [--pictures FOLDER]

Prints a table, and writes it to FOLDER as gpu.md and gpu.json. The exit code is 1 if a goal is missed. On a CPU, the same parts run with
the backend of GPUs, and the goals of a GPU are not judged.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench.gpu.report import Report
from bench.report import heading
from tagger.errors import SettingsInvalid
from tagger.model.devices import choose_device, core_count

FEWEST_PHOTOS = 48
"""A third of them are more than one batch of a CPU."""


def main() -> None:
    """Prove and measure tagging on a GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder of gpu.md and gpu.json")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="[auto]")
    parser.add_argument("--photos", type=int, default=4000, help="[4000]")
    pictures = "photos to compare results on [drawn pictures]"
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help=pictures)
    args = parser.parse_args()
    if args.photos < FEWEST_PHOTOS:
        parser.error(f"--photos: use at least {FEWEST_PHOTOS}")
    from bench.gpu.measure import measure  # not in the processes of the pool: it imports torch

    try:
        device = choose_device(args.device, None)
    except SettingsInvalid as error:
        raise SystemExit(f"error: {error}") from error
    report = Report(args.out, heading("Tagging on a GPU"), has_gpu=device.kind == "cuda")
    with (
        tempfile.TemporaryDirectory(prefix="tagger-gpu-", ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(core_count(), get_context("spawn")) as pool,
    ):
        measure(report, device, Path(folder), args.photos, args.pictures, pool)
    print(report.markdown(), flush=True)
    raise SystemExit(1 if report.has_failed else 0)


if __name__ == "__main__":
    main()
