"""PyTorch's and Celery's ways to process many files, as their documentation teaches them.

    python -m bench.peers [--tuned] MODEL.pt DATABASE FOLDER-OR-PHOTO…

The processes of a DataLoader decode, and a loop runs the network.

Follows https://docs.pytorch.org/docs/stable/data.html#multi-process-data-loading: one process per core,
batches of 32, no pinned memory, which is for GPUs. Decodes photos at full size, computes in float32, and
stores the best tags of each batch in one transaction in SQLite. `--tuned` decodes at the smallest scale of
JPEG that has enough pixels, and freezes the network, in bfloat16 where the processor has it. Unlike the
tagger, it does not apply the orientation, recognise copies, resume, or survive what is no photo.

    celery -A bench.peers worker --pool prefork

One photo per task, decoded at full size, and a transaction. Follows
https://docs.celeryq.dev/en/stable/getting-started/first-steps-with-celery.html for the task, and
https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-process-init for the network, which each
child process loads once. The pool has one process per core. Results are ignored.
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
from celery import Celery
from celery.signals import worker_process_init
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.rig import photos_in
from tagger.model.artifact import without_deprecations
from tagger.model.devices import cpu_emulates_bfloat16

BATCH_SIZE = 32
TOP_K = 5  # the tags that every program stores for each photo


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
        prog="python -m bench.peers", description=main.__doc__
    )
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("model", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    args = parser.parse_args()
    network, manifest = load_network(args.model)
    if args.tuned:
        with without_deprecations():
            if not cpu_emulates_bfloat16():
                network.to(torch.bfloat16)
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            network = torch.jit.freeze(network)
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
            store(connection, names, best_scores(network, images), slugs)


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


def best_scores(
    network: torch.jit.ScriptModule, images: torch.Tensor
) -> torch.return_types.topk:
    """Return the TOP_K best scores of each image of a batch, uint8 (B, 3, H, W), or all."""
    with torch.inference_mode():
        output = network(images)
    # Format 2 has embeddings.
    scores: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return scores.float().topk(min(TOP_K, scores.shape[1]), dim=1)


app = Celery("peer", broker=os.environ.get("PEER_BROKER"))
# By default a child must start in 4 s; loading a network may take longer on a busy machine.
app.conf.update(task_ignore_result=True, worker_proc_alive_timeout=60.0)
# What a child process keeps from task to task.
_state: dict[str, Any] = {}


@worker_process_init.connect
def _load(**_: Any) -> None:
    # Load the network and connect: neither torch's threads nor a connection survive a fork.
    torch.set_num_threads(1)
    network, manifest = load_network(Path(os.environ["PEER_MODEL"]))
    _state["network"] = network
    _state["slugs"] = [label["slug"] for label in manifest["labels"]]
    _state["transform"] = make_transform(manifest["input"])
    _state["connection"] = open_database(Path(os.environ["PEER_DATABASE"]))


@app.task(name="tag")
def tag(path: str) -> None:
    with Image.open(path) as photo:
        image = _state["transform"](photo.convert("RGB"))
    top = best_scores(_state["network"], image.unsqueeze(0))
    store(_state["connection"], [path], top, _state["slugs"])


if __name__ == "__main__":
    main()
