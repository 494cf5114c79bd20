"""Compares the memory that decoding takes with what is counted for it before, by format, mode and layout.

    python -m bench.decoding_memory [KIND …] [--size 6000x4000] [--side 112] [--threads 1] [--budget-mib N]

Every image is decoded in a process of its own. The count must not be less than the peak. With `--threads` and `--budget-mib`,
several copies are decoded at the same time, and the peak is that of all of them.
"""

import argparse
import re
import struct

from bench.report import note, print_heading, print_table
from tests.rig.decoding_memory import DecodingMemory, measure_decoding
from tests.rig.large_images import LARGE_IMAGES

MIB = 2**20


def main() -> None:
    """Print what is counted and what is measured for each kind of image."""
    args = _arguments()
    print_heading("Memory of decoding")
    rows, exceeded = [], []
    for kind in (kind for kind in LARGE_IMAGES if not args.kinds or any(name in kind for name in args.kinds)):
        note(kind)
        memory = _measure(kind, args)
        if memory is not None:
            rows.append(_row(kind, memory, args.size))
            exceeded += [kind] if memory.peak_bytes > memory.counted_bytes and args.threads == 1 else []
    names = ("", "file MB", "counted MiB", "peak MiB", "counted B/pixel", "peak B/pixel", "counted / peak")
    print_table(names, rows)
    if exceeded:
        raise SystemExit(f"more than counted: {', '.join(exceeded)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.decoding_memory", description=main.__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="parts of names of kinds [all kinds]")
    parser.add_argument("--size", type=_size, default=(6000, 4000), help="WIDTHxHEIGHT [6000x4000]")
    parser.add_argument("--side", type=int, default=112, help="the model's input; 0: the whole image [112]")
    parser.add_argument("--threads", type=int, default=1, help="copies decoded at the same time [1]")
    parser.add_argument("--budget-mib", type=int, default=2048, help="for all threads [2048]")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"(\d+)x(\d+)", text)
    if not numbers:
        raise argparse.ArgumentTypeError("a size is like 6000x4000")
    return int(numbers[1]), int(numbers[2])


def _measure(kind: str, args: argparse.Namespace) -> DecodingMemory | None:
    try:
        (memory,) = measure_decoding(
            [kind], args.size, side=args.side, threads=args.threads, budget_bytes=args.budget_mib * MIB
        )
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        note(f"{kind}: {error}")  # some formats have no images of this size
        return None
    return memory


def _row(kind: str, memory: DecodingMemory, size: tuple[int, int]) -> list[object]:
    pixels = size[0] * size[1]
    return [
        kind,
        memory.file_bytes / 1e6,
        memory.counted_bytes / MIB,
        memory.peak_bytes / MIB,
        memory.counted_bytes / pixels,
        memory.peak_bytes / pixels,
        memory.counted_bytes / max(memory.peak_bytes, 1),
    ]


if __name__ == "__main__":
    main()
