"""Measures what it costs to read photos from object storage, next to the same photos on the local disk.

    python -m bench.objects [FOLDER] [--photos 240] [--latency 0,5,20,50] [--rounds 3] [--json]

A small S3 server (object_server) answers each request after a delay. For the disk and for each delay, one process runs the
pipeline over all photos, in turn and in every round: with the model of the package; decoding only; and reading only, as if
decoding and classifying cost nothing. CPU time is that of this process, without the server's.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE, Popen
from sys import executable
from typing import Any

from bench.object_server import BUCKET, serving
from bench.photos import draw_image, evenly_spread, photos_in
from bench.process_tree import cpu_seconds
from bench.processes import plain_environment
from bench.report import note, print_heading, print_table, value_range

PROGRAMS = {"model": "with the model", "decode": "decoding only", "read": "reading only"}
DISK = "disk"
SIZE = (1200, 800)

Passes = dict[tuple[str, str], list[dict[str, Any]]]
"""The passes of each store and program."""


def main() -> None:
    """Compare reading from a bucket with reading from the disk."""
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        photos = Path(name) / "photos"
        photos.mkdir()
        size_mib = _make_photos(photos, args) / 2**20
        passes, server_s = _measure(photos, Path(name), args)
    if args.json:
        print(json.dumps(_document(passes, server_s)))
        return
    print_heading("Photos in object storage")
    print(f"{args.photos} photos of {size_mib / args.photos:.1f} MiB; medians of {args.rounds} rounds.\n")
    for program, title in PROGRAMS.items():
        columns = ("photos/s", "lowest to highest", "of the disk's", "CPU ms/photo", "in flight", "peak MiB")
        print_table((title, *columns), _rows(passes, program))
    requests = sum(each["photos"] for (store, _), some in passes.items() if store != DISK for each in some)
    print(f"The server took {1000 * server_s / requests:.2f} ms of CPU time per photo on the same cores.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.objects", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="[drawn photos]")
    parser.add_argument("--photos", type=int, default=240, help="[240]")
    parser.add_argument("--latency", default="0,5,20,50", help="milliseconds before each answer [0,5,20,50]")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument(
        "--padding", type=float, default=0, metavar="MIB", help="enlarge each photo by so much [0]"
    )
    parser.add_argument("--json", action="store_true", help="print every pass")
    args = parser.parse_args()
    args.delays_ms = [float(delay) for delay in args.latency.split(",")]
    return args


def _make_photos(folder: Path, args: argparse.Namespace) -> int:
    """Copy or draw the photos; returns their bytes. Each is another image: copies are classified once."""
    sources = evenly_spread(photos_in(args.folder), args.photos) if args.folder else []
    args.photos = len(sources) or args.photos
    note(f"{'copying' if sources else 'drawing'} {args.photos} photos")
    padding = bytes(round(args.padding * 2**20))
    for number in range(args.photos):
        file = folder / (f"{number:05}{sources[number].suffix}" if sources else f"{number:05}.jpg")
        if sources:
            file.write_bytes(sources[number].read_bytes())
        else:
            draw_image(number, SIZE).save(file, quality=88)
        with file.open("ab") as opened:
            opened.write(padding)
    return sum(file.stat().st_size for file in folder.iterdir())


def _measure(photos: Path, work: Path, args: argparse.Namespace) -> tuple[Passes, float]:
    """Run all passes; returns them, and the CPU time of the server."""
    passes: Passes = {}
    with ExitStack() as stack:
        endpoints, server = stack.enter_context(serving(photos, args.delays_ms))
        stores: dict[str, Popen[str]] = {}
        # One after another: the first selects the fastest backend, which the others use.
        stores[DISK] = stack.enter_context(_process(str(photos), work, {}))
        for delay_ms, url in endpoints.items():
            variables = {
                "AWS_ENDPOINT_URL_S3": url,
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
            }
            stores[f"{delay_ms:g} ms"] = stack.enter_context(_process(f"s3://{BUCKET}", work, variables))
        cpu_before_s = cpu_seconds(server)
        for number in range(args.rounds):
            for program in PROGRAMS:
                for store in list(stores) if number % 2 else reversed(stores):
                    result = _run(stores[store], program)
                    passes.setdefault((store, program), []).append(result)
                    note(
                        f"round {number + 1}, {program}, {store}: {result['photos'] / result['wall_s']:.0f} photos/s"
                    )
        return passes, cpu_seconds(server) - cpu_before_s


@contextmanager
def _process(location: str, work: Path, variables: dict[str, str]) -> Iterator["Popen[str]"]:
    """A process that is ready to run passes."""
    environment = plain_environment() | {"NO_PROXY": "127.0.0.1", "OMP_WAIT_POLICY": "PASSIVE"} | variables
    command = [executable, "-m", "bench.object_passes", location, str(work)]
    with Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            _read(process)
            yield process
        finally:
            process.kill()


def _run(process: "Popen[str]", program: str) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(program + "\n")
    process.stdin.flush()
    result: dict[str, Any] = _read(process)
    return result


def _read(process: "Popen[str]") -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process of the benchmark has ended")
    return json.loads(line)


def _rows(passes: Passes, program: str) -> Iterator[Sequence[object]]:
    disk = median(_rates(passes[DISK, program]))
    for store in sorted({store for store, _ in passes}, key=lambda store: (store != DISK, len(store), store)):
        if some := passes.get((store, program)):
            rates = _rates(some)
            yield (
                store,
                median(rates),
                value_range(rates),
                f"{median(rates) / disk:.0%}",
                median(1000 * each["cpu_s"] / each["photos"] for each in some),
                max(each["in_flight"] for each in some),
                f"{max(each['peak_mib'] for each in some):.0f}",
            )


def _rates(passes: Sequence[Mapping[str, Any]]) -> list[float]:
    return [each["photos"] / each["wall_s"] for each in passes]


def _document(passes: Passes, server_s: float) -> dict[str, object]:
    return {
        "passes": [
            {"store": store, "program": program, **each}
            for (store, program), some in passes.items()
            for each in some
        ],
        "server_cpu_s": server_s,
        "load": os.getloadavg(),
    }


if __name__ == "__main__":
    main()
