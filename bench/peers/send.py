"""Sends one message per photo to a Celery app, and prints the time at which it started.

    python -m bench.peers.send BROKER FOLDER

Sends by the task's name, as https://docs.celeryq.dev/en/stable/userguide/calling.html describes, which avoids importing torch.
"""

import argparse
import time
from pathlib import Path

from celery import Celery

from bench.photos import photos_in


def main() -> None:
    """Send a message for each photo of a folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.send", description=main.__doc__)
    parser.add_argument("broker")
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    app = Celery(broker=args.broker)
    print(time.time(), flush=True)
    for path in photos_in(args.folder):
        app.send_task("tag", (str(path),))


if __name__ == "__main__":
    main()
