"""PyTorch's way to process many files: the processes of a DataLoader decode, and a loop runs the network.

    python -m bench.peers.loader MODEL.pt DATABASE FOLDER-OR-PHOTO… [--scaled] [--frozen]

Follows https://docs.pytorch.org/docs/stable/data.html#multi-process-data-loading: one process per core, batches of 32, no pinned
memory, which is for GPUs. Each batch is stored in one transaction. The options add optimisations that the tagger also has:

--scaled: the JPEG decoder returns smaller images (Pillow's Image.draft).
--frozen: the network is frozen in bfloat16 and channels_last, if the processor supports bfloat16:
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

from bench.peers.network import Network, cores, expand_folders, load_network, make_transform, open_photo
from bench.peers.store import open_store, store_tags

BATCH_SIZE = 32


class PhotoDataset(Dataset[tuple[torch.Tensor, str]]):
    """Photos, decoded on access, and their paths."""

    def __init__(self, paths: Sequence[Path], input_rule: dict[str, Any], *, scaled: bool) -> None:
        self._paths = paths
        self._transform = make_transform(input_rule)
        self._draft_px = max(input_rule["short_side"], input_rule["size"]) if scaled else 0

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
    parser.add_argument("--scaled", action="store_true", help="decode JPEGs at reduced size")
    parser.add_argument("--frozen", action="store_true", help="freeze the network, in bfloat16")
    args = parser.parse_args()
    network, engine = load_network(args.model), open_store(args.database)
    if args.frozen:
        network = _frozen(network)
    photos = PhotoDataset(list(expand_folders(args.paths)), network.input_rule, scaled=args.scaled)
    for images, paths in DataLoader(photos, BATCH_SIZE, num_workers=cores()):
        if args.frozen:
            images = images.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
        store_tags(engine, zip(paths, network.predict(images), strict=True))


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
