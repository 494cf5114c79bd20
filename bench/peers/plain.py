"""What a person writes in ten minutes: open a photo, transform it, ask the network, store, and the next one.

    python -m bench.peers.plain MODEL.pt DATABASE FOLDER-OR-PHOTO…

https://docs.pytorch.org/vision/stable/models.html#classification with the artifact as network. All cores are left to
torch; prints what it saw.
"""

import argparse
from pathlib import Path

from bench.peers.network import load, open_photo, photos, transform_of
from bench.peers.store import open_store, store


def main() -> None:
    """Tag photos one by one."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.plain", description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    asked = parser.parse_args()
    network, engine = load(asked.model), open_store(asked.database)
    transform = transform_of(network.rule)
    for path in photos(asked.paths):
        best = network.best(open_photo(path, transform).unsqueeze(0))[0]
        store(engine, [(str(path), best)])
        print(f"{path}: " + ", ".join(f"{slug} {score:.0%}" for slug, score in best))


if __name__ == "__main__":
    main()
