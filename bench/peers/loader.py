"""PyTorch's own way to go over many files: a DataLoader whose processes decode, and a loop that runs the network.

    python -m bench.peers.loader MODEL.pt DATABASE FOLDER-OR-PHOTO… [--scaled] [--frozen]

https://docs.pytorch.org/docs/stable/data.html#multi-process-data-loading: as many processes as cores, batches of 32,
no pinned memory, which is for GPUs; each batch is stored in one transaction. The options add what the tagger also does,
to tell which of it brings how much:

--scaled: the JPEG decoder gives smaller images (Pillow's Image.draft).
--frozen: the network frozen in bfloat16 and channels_last, where the processor computes in bfloat16:
https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html,
https://docs.pytorch.org/docs/stable/generated/torch.jit.freeze.html
"""

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from bench.peers.network import Network, cores, load, open_photo, photos, transform_of
from bench.peers.store import open_store, store

BATCH_SIZE = 32


class Photos(Dataset[tuple[torch.Tensor, str]]):
    """Photos, decoded when they are asked for, and their paths."""

    def __init__(self, paths: Sequence[Path], rule: dict[str, Any], *, scaled: bool) -> None:
        self._paths = paths
        self._transform = transform_of(rule)
        self._draft_px = max(rule["short_side"], rule["size"]) if scaled else 0

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, str]:
        path = self._paths[number]
        return open_photo(path, self._transform, self._draft_px), str(path)


def main() -> None:
    """Tag photos in batches from a DataLoader."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.loader", description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--scaled", action="store_true", help="decode JPEGs at a fraction of their size")
    parser.add_argument("--frozen", action="store_true", help="freeze the network, in bfloat16")
    asked = parser.parse_args()
    network, engine = load(asked.model), open_store(asked.database)
    if asked.frozen:
        network = _frozen(network)
    seen = Photos(list(photos(asked.paths)), network.rule, scaled=asked.scaled)
    for images, paths in DataLoader(seen, BATCH_SIZE, num_workers=cores()):
        if asked.frozen:
            images = images.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
        store(engine, zip(paths, network.best(images), strict=True))


def _frozen(network: Network) -> Network:
    # Without the instructions, bfloat16 is emulated and slower than float32.
    if torch.cpu._is_avx512_bf16_supported():  # noqa: SLF001 - torch has no public name for it
        network.module.to(torch.bfloat16)
    network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        return replace(network, module=torch.jit.freeze(network.module))


if __name__ == "__main__":
    main()
