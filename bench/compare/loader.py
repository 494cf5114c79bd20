"""PyTorch's way to process many files: the processes of a DataLoader decode, and a loop runs the network.

    python -m bench.compare.loader [--tuned] MODEL.pt DATABASE FOLDER-OR-PHOTO…

Follows https://docs.pytorch.org/docs/stable/data.html#multi-process-data-loading: one process per core,
batches of 32, no pinned memory, which is for GPUs. Decodes photos at full size, computes in float32, and
stores the best tags of each batch in one transaction in SQLite. `--tuned` decodes at the smallest scale of
JPEG that has enough pixels, and freezes the network, in bfloat16 where the processor has it. Unlike the
tagger, it does not apply the orientation, recognise copies, resume, or survive what is no photo.
"""

import argparse
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.compare import TOP_K
from bench.rig import photos_in
from tagger.model.artifact import without_deprecations
from tagger.model.devices import cpu_emulates_bfloat16

BATCH_SIZE = 32


class PhotoDataset(Dataset[tuple[torch.Tensor, str]]):
    def __init__(
        self,
        paths: Sequence[Path],
        input_rule: dict[str, Any],
        *,
        scaled: bool,
    ) -> None:
        self._paths = paths
        self._transform = make_transform(input_rule)
        self._scale = (input_rule["short_side"],) * 2 if scaled else None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, str]:
        path = self._paths[number]
        with Image.open(path) as photo:
            if self._scale:
                photo.draft("RGB", self._scale)
            return self._transform(photo.convert("RGB")), str(path)


def make_transform(input_rule: dict[str, Any]) -> transforms.Compose:
    """Return torchvision's transform of the network's input rule. The network normalises inside."""
    size = input_rule["size"]
    if input_rule["fit"] == "stretch":
        return transforms.Compose(
            [transforms.Resize((size, size)), transforms.PILToTensor()]
        )
    resize, crop = (
        transforms.Resize(input_rule["short_side"]),
        transforms.CenterCrop(size),
    )
    return transforms.Compose([resize, crop, transforms.PILToTensor()])


def main() -> None:
    """Tag photos in batches from a DataLoader."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare.loader", description=main.__doc__
    )
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("model", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    args = parser.parse_args()
    network, manifest = load_network(args.model)
    if args.tuned:
        network = _freeze(network)
    slugs = [label["slug"] for label in manifest["labels"]]
    paths = [
        photo
        for path in args.paths
        for photo in (photos_in(path) if path.is_dir() else [path])
    ]
    photos = PhotoDataset(paths, manifest["input"], scaled=args.tuned)
    with closing(open_database(args.database)) as connection:
        for images, names in DataLoader(
            photos, BATCH_SIZE, num_workers=len(os.sched_getaffinity(0))
        ):
            store(
                connection,
                names,
                best_scores(network, images, min(TOP_K, len(slugs))),
                slugs,
            )


def open_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = normal")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS tags (path TEXT, rank INTEGER, slug TEXT, score REAL)"
    )
    return connection


def store(
    connection: sqlite3.Connection,
    paths: Iterable[str],
    top: torch.return_types.topk,
    slugs: Sequence[str],
) -> None:
    rows = zip(paths, top.values.tolist(), top.indices.tolist(), strict=True)
    with connection:
        connection.executemany(
            "INSERT INTO tags VALUES (?, ?, ?, ?)",
            (
                (path, rank, slugs[position], score)
                for path, scores, positions in rows
                for rank, (score, position) in enumerate(
                    zip(scores, positions, strict=True), start=1
                )
            ),
        )


def load_network(path: Path) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    extra = {"manifest.json": ""}
    with without_deprecations():
        network = torch.jit.load(path, _extra_files=extra).float().eval()  # type: ignore[no-untyped-call]
    return network, json.loads(extra["manifest.json"])


def _freeze(network: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    with without_deprecations():
        if not cpu_emulates_bfloat16():
            network.to(torch.bfloat16)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return torch.jit.freeze(network)  # type: ignore[no-any-return]


def best_scores(
    network: torch.jit.ScriptModule, images: torch.Tensor, count: int
) -> torch.return_types.topk:
    """Return the `count` best scores of each image of a batch, uint8 (B, 3, H, W)."""
    with torch.inference_mode():
        output = network(images)
    # Format 2 has embeddings.
    scores: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return scores.float().topk(count, dim=1)


if __name__ == "__main__":
    main()
