"""Tiny artifacts for tests: real TorchScript files with real manifests, identical on every run.

The model uses the mean colour of an image only. Each label has a colour (see `colour_of`): an image in that
colour gets the label with a high score, an image in no label's colour is unknown.
"""

import colorsys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tagger.model.artifact import InputRule, Label, Manifest, save_artifact

SIZE = 64
THRESHOLD = 0.5
_NEARNESS = 40.0

LABELS = (
    Label(
        label="00.Eiffel_Tower",
        slug="eiffel-tower",
        name="Eiffel Tower",
        names={"de": "Eiffelturm", "fr": "Tour Eiffel"},
        country="France",
        city="Paris",
        latitude=48.8584,
        longitude=2.2945,
        extent="point",
    ),
    Label(
        label="01.Brandenburg_Gate",
        slug="brandenburg-gate",
        name="Brandenburg Gate",
        country="Germany",
        city="Berlin",
        latitude=52.5163,
        longitude=13.3777,
        extent="point",
    ),
    Label(
        label="02.Château_de_Versailles",
        slug="chateau-de-versailles",
        name="Château de Versailles",
        country="France",
        city="Versailles",
        latitude=48.8049,
        longitude=2.1204,
        extent="area",
    ),
    Label(label="03.Nameless_Hill", slug="nameless-hill", name="Nameless Hill"),
)


def tiny_artifact(
    path: Path,
    labels: Sequence[Label] = LABELS,
    seed: int = 0,
    *,
    name: str = "tiny",
    threshold: float = THRESHOLD,
    suggestion_threshold: float | None = None,
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    max_batch: int = 10_000,
    kind: str = "landmarks",
) -> Manifest:
    """Write an artifact to `path`. The seed determines the labels' colours and the file's digest.

    A batch of more than `max_batch` images fails like a batch that does not fit the memory of a GPU.
    """
    documents = tuple(label.model_dump_json() for label in labels)
    thresholds = threshold, suggestion_threshold
    manifest, data = _artifact(documents, seed, name, thresholds, created_at, max_batch, kind)
    path.write_bytes(data)
    return manifest


def tiny_manifest(labels: Sequence[Label] = LABELS, **fields: object) -> Manifest:
    """A manifest with what every test leaves as it is."""
    return Manifest.model_validate(
        {
            "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            "labels": labels,
            "input": InputRule(size=SIZE, short_side=SIZE),
            "threshold": THRESHOLD,
            "threshold_reason": "chosen for tests",
            "calibration": {"method": "none"},
            "training": {},
            "metrics": {"top1": 1.0},
            "versions": {"torch": torch.__version__},
            **fields,
        }
    )


@cache
def _artifact(
    labels: tuple[str, ...],
    seed: int,
    name: str,
    thresholds: tuple[float, float | None],
    created_at: datetime,
    max_batch: int,
    kind: str,
) -> tuple[Manifest, bytes]:
    """The manifest and the file, of labels in JSON; compiling the model takes longer than most tests."""
    manifest = tiny_manifest(
        tuple(map(Label.model_validate_json, labels)),
        name=name,
        created_at=created_at,
        threshold=thresholds[0],
        suggestion_threshold=thresholds[1],
        training={"seed": seed},
        kind=kind,
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "artifact.pt"
        save_artifact(torch.jit.script(MeanColours(len(labels), seed, max_batch).eval()), manifest, path)
        return manifest, path.read_bytes()


def colour_of(position: int, count: int = len(LABELS), seed: int = 0) -> tuple[int, int, int]:
    """The colour (RGB, 0 to 255) of the label at `position`."""
    hue = (position / count + 0.37 * seed) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


class MeanColours(torch.nn.Module):
    """uint8 (B, 3, H, W) → float32 (B, L): high where the mean colour is near the label's."""

    def __init__(self, count: int, seed: int, max_batch: int) -> None:
        super().__init__()
        colours = torch.tensor([colour_of(position, count, seed) for position in range(count)])
        # A parameter: a cast changes its dtype, as in real models.
        self.colours = torch.nn.Parameter(colours.float() / 255.0, requires_grad=False)  # (L, 3)
        self.nearness = _NEARNESS
        self.max_batch = max_batch

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.size(0) > self.max_batch:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        means = images.float().mean(dim=(2, 3)) / 255.0  # (B, 3)
        distances = (
            (means.to(self.colours.dtype).unsqueeze(1) - self.colours.unsqueeze(0)).square().sum(dim=2)
        )
        no_landmark = torch.full_like(distances[:, :1], -0.1 * self.nearness)
        logits = torch.cat([-self.nearness * distances, no_landmark], dim=1).float()  # (B, L + 1)
        return logits.softmax(dim=1)[:, :-1]
