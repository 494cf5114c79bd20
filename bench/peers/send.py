"""Sends one message for each photo to a Celery peer; prints when it began.

    python -m bench.peers.send BROKER FOLDER…

https://docs.celeryq.dev/en/stable/userguide/calling.html, by the task's name, so that torch need not be imported.
"""

import argparse
import time
from pathlib import Path

from celery import Celery

from bench.copies import EXTENSIONS


def main() -> None:
    """Send a message for each photo in folders."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.send", description=main.__doc__)
    parser.add_argument("broker")
    parser.add_argument("folders", type=Path, nargs="+")
    asked = parser.parse_args()
    app = Celery(broker=asked.broker)
    print(time.time(), flush=True)
    for folder in asked.folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in EXTENSIONS:
                app.send_task("tag", (str(path),))


if __name__ == "__main__":
    main()
