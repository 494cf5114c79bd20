"""A plain loop over the photos: open, transform, predict, store.

    python -m bench.peers.plain MODEL.pt DATABASE FOLDER-OR-PHOTO…

Follows https://docs.pytorch.org/vision/stable/models.html#classification with the artifact as the network. torch uses all cores.
Prints the predictions.
"""

import argparse
from pathlib import Path

from bench.peers.network import expand_folders, load_network, make_transform, open_photo
from bench.peers.store import open_store, store_tags


def main() -> None:
    """Tag photos one by one."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.plain", description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    args = parser.parse_args()
    network, engine = load_network(args.model), open_store(args.database)
    transform = make_transform(network.input_rule)
    for path in expand_folders(args.paths):
        predictions = network.predict(open_photo(path, transform).unsqueeze(0))[0]
        store_tags(engine, [(str(path), predictions)])
        print(f"{path}: " + ", ".join(f"{slug} {score:.0%}" for slug, score in predictions))


if __name__ == "__main__":
    main()
