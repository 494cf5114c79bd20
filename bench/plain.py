"""The peer: what a person writes in ten minutes. Pillow opens, torchvision transforms, the network looks, one by one.

    python -m bench.plain MODEL.pt FOLDER-OR-PHOTO…

The same artifact as the tagger's, as it is stored, in float32. The network takes uint8 and normalises inside, so
the transform ends with PILToTensor where others would have ToTensor and Normalize. Prints the top 5 of every photo;
stores nothing, turns nothing upright, and ends at the first photo that cannot be opened.
"""

import argparse
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
TOP_K = 5


def main() -> None:
    """Print the top 5 of photos, one by one."""
    parser = argparse.ArgumentParser(prog="python -m bench.plain", description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    asked = parser.parse_args()
    network, manifest = load(asked.model)
    labels = [label["name"] for label in manifest["labels"]]
    transform = transforms.Compose([*scaling(manifest["input"]), transforms.PILToTensor()])
    for path in photos(asked.paths):
        image = transform(Image.open(path).convert("RGB"))  # uint8 (3, H, W)
        with torch.inference_mode():
            scores = network(image.unsqueeze(0))[0]  # float32 (L,)
        best = scores.topk(min(TOP_K, len(labels)))
        seen = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        print(f"{path}: " + ", ".join(f"{labels[position]} {score:.0%}" for position, score in seen))


def scaling(rule: dict[str, Any]) -> list[torch.nn.Module]:
    """The model's input rule in torchvision's words."""
    size = rule["size"]
    if rule["fit"] == "stretch":
        return [transforms.Resize((size, size))]
    return [transforms.Resize(rule["short_side"]), transforms.CenterCrop(size)]


def load(path: Path) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    """The network, and what the file says of itself."""
    extra = {"manifest.json": ""}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        network = torch.jit.load(path, _extra_files=extra).float().eval()  # type: ignore[no-untyped-call]
    return network, json.loads(extra["manifest.json"])


def photos(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.suffix.lower() in EXTENSIONS)
        else:
            yield path


if __name__ == "__main__":
    main()
