"""Measures what it takes to list a bucket of a million photos: CPU time and peak memory, next to the libraries alone.

    python -m bench.object_listing [--keys 1000000] [--few-keys 100000] [--json]

A small S3 server (object_server) makes up the keys, a thousand per answer. Each program lists them in a process of its own.
`tagger` is the list that a scan compares with the database. boto3 takes part where it is installed.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from bench.object_server import BUCKET, serving
from bench.processes import plain_environment, run
from bench.report import note, print_heading, print_table


def main() -> None:
    """List a million keys."""
    parser = argparse.ArgumentParser(prog="python -m bench.object_listing", description=main.__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="[1000000]")
    parser.add_argument("--few-keys", type=int, default=100_000, help="for the slow programs [100000]")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--lister", choices=LISTERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.lister:
        print(json.dumps(_list(LISTERS[args.lister])))
        return
    results = list(_measure(args.keys, args.few_keys))
    if args.json:
        print(json.dumps(results))
        return
    print_heading("Listing a bucket")
    columns = ("keys", "CPU seconds", "CPU s/million", "seconds", "peak MiB", "server's CPU s")
    print_table(("program", *columns), map(_row, results))


def _measure(keys: int, few_keys: int) -> Iterator[dict[str, Any]]:
    for lister in LISTERS:
        if lister == "boto3" and find_spec("boto3") is None:
            note("boto3 is not installed")
            continue
        with serving(few_keys if lister in SLOW else keys, [0]) as (endpoints, server):
            variables = {
                "AWS_ENDPOINT_URL_S3": endpoints[0],
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "AWS_REGION": "us-east-1",
                "NO_PROXY": "127.0.0.1",
            }
            command = [sys.executable, "-m", "bench.object_listing", "--lister", lister]
            done = run(command, plain_environment() | variables).checked()
            from bench.process_tree import cpu_seconds  # psutil is not for the listers

            yield {
                "program": lister,
                **json.loads(done.out),
                "peak_mib": done.usage.peak_mib,
                "server_cpu_s": cpu_seconds(server),
            }
            note(f"{lister}: done")


def _list(keys: Callable[[], Iterator[object]]) -> dict[str, float]:
    start, cpu_start = time.monotonic(), time.process_time()
    count = sum(1 for _ in keys())
    return {"keys": count, "cpu_s": time.process_time() - cpu_start, "wall_s": time.monotonic() - start}


def _row(result: dict[str, Any]) -> tuple[object, ...]:
    return (
        result["program"],
        f"{result['keys']:,}",
        result["cpu_s"],
        1e6 * result["cpu_s"] / max(1, result["keys"]),
        result["wall_s"],
        f"{result['peak_mib']:.0f}",
        result["server_cpu_s"],
    )


def _tagger() -> Iterator[object]:
    from tagger.photos.source import open_source

    return open_source(f"s3://{BUCKET}").photos()


def _exact() -> Iterator[object]:
    from tagger.photos.key_listing import exact_pages
    from tagger.photos.object_paths import ObjectPath

    return (meta for page in exact_pages(ObjectPath(f"s3://{BUCKET}"), "", patient=True) for meta in page)


def _obstore() -> Iterator[object]:
    from tagger.photos.object_paths import ObjectPath
    from tagger.photos.object_store import open_store

    store = open_store(ObjectPath(f"s3://{BUCKET}"))
    return (meta for page in store.list(None, chunk_size=1000) for meta in page)


def _boto3() -> Iterator[object]:
    import boto3

    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return (entry for page in pages for entry in page["Contents"])


LISTERS = {"tagger": _tagger, "exact": _exact, "obstore": _obstore, "boto3": _boto3}
"""What each program lists with. `exact` is how the tagger lists pages that have a key that cannot be read."""
SLOW = ("exact", "boto3")

if __name__ == "__main__":
    main()
