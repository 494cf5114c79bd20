"""The options that users choose for a run, and what a library shows, for which thresholds are chosen.

All other settings are set by the recipes.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import typer

from tagger.model import KNOWN_SHARE

# The kinds of photos without a label.
ORDINARY, OTHERS = "ordinary photos", "photos of other landmarks"
PATTERN = re.compile(":".join([r"(\d+(?:\.\d+)?)"] * 3))


@dataclass(frozen=True)
class Mixture:
    """The shares of photos of the model's landmarks, of others, and of anything else; their sum is 1."""

    known: float
    other: float
    ordinary: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `KNOWN:OTHER:ORDINARY`, numbers in any unit, such as 5:15:80.

        Raises:
            ValueError: it is something else.
        """
        match = PATTERN.fullmatch(text)
        known, other, ordinary = (
            (float(part) for part in match.groups()) if match else (0, 0, 0)
        )
        if not known:
            raise ValueError(f"{text}: write KNOWN:OTHER:ORDINARY, such as {FAMILY}")
        total = known + other + ordinary
        return cls(known / total, other / total, ordinary / total)

    def __str__(self) -> str:
        return ":".join(
            f"{100 * share:g}" for share in (self.known, self.other, self.ordinary)
        )


# A family's library.
FAMILY = Mixture(KNOWN_SHARE, 0.15, 0.8)


# The options of recipes.

PIXELS = "pixels"

DeviceName = Literal["auto", "cuda", "mps", "cpu"]
Device = Annotated[
    DeviceName,
    typer.Option(envvar="TAGGER_DEVICE", help="The device that runs the network."),
]
OrdinaryPhotos = Annotated[
    Path | None,
    typer.Option(
        help="A folder of ordinary photos, at any depth, that show none of the landmarks."
    ),
]


def _multiple_of_32(value: int) -> int:
    if value % 32:
        raise typer.BadParameter(f"{value} is not a multiple of 32")
    return value


ImageSize = Annotated[
    int,
    typer.Option(
        min=32,
        max=1024,
        callback=_multiple_of_32,
        help="Side of the model's input images, in pixels; a multiple of 32.",
    ),
]


def _mixture(value: object) -> Mixture:
    try:
        return Mixture.parse(str(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


LibraryMixture = Annotated[
    Mixture,
    typer.Option(
        parser=_mixture,
        metavar="KNOWN:OTHER:ORDINARY",
        help="What a library shows: so many photos of the model's landmarks, of other landmarks, "
        "and of anything else.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """Options of every recipe, with the defaults of the scratch recipe.

    `cache` is the folder of decoded photos (None: in the run folder). `learning_rate` None means the
    recipe's. `precision` is the share of accepted labels that should be right in a library that shows
    `mixture`, 0…1.
    """

    data: Annotated[
        Path,
        typer.Option(
            help="The folder with train/LABEL/photo.jpg and, optionally, val/. Without val/, "
            "a seventh of the photos is held out, near-duplicates together."
        ),
    ]
    out: Annotated[
        Path,
        typer.Option(
            help="The run folder: checkpoint, learning curves, figures, metrics and log."
        ),
    ]
    unknown: OrdinaryPhotos = None
    others: Annotated[
        Path | None,
        typer.Option(
            help="A folder with LANDMARK/photo.jpg of other landmarks. "
            "The model learns to call them unknown; those with a label are left out."
        ),
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="The folder for decoded photos. Runs may share it; delete it only when none is running. "
            "Defaults to the run folder."
        ),
    ] = None
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 100
    size: ImageSize = 160
    batch_size: Annotated[
        int, typer.Option(min=2, help="Photos per step. Fewer need less device memory.")
    ] = 32
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=1e-9,
            help="The highest learning rate. Defaults to the recipe's. "
            "Lower it if training does not converge.",
        ),
    ] = None
    device: Device = "auto"
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="The same seed and photos give the same split and the same model.",
        ),
    ] = 0
    precision: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=0.999,
            help="The share of accepted landmarks that should be right in a library. "
            "Sets the threshold.",
        ),
    ] = 0.95
    mixture: LibraryMixture = FAMILY
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue after the run's last finished epoch. "
            "The result equals that of an uninterrupted run.",
        ),
    ] = False

    @property
    def pixels(self) -> Path:
        return self.cache or self.out / PIXELS

    def settings(self) -> dict[str, object]:
        """The options that must stay the same to resume a run."""
        return {
            "epochs": self.epochs,
            "size": self.size,
            "batch size": self.batch_size,
            "learning rate": self.learning_rate,
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class TransferOptions(RecipeOptions):
    """Options of the transfer recipe. `weights` is a file, or None for the published weights.

    With 0 epochs the backbone stays frozen and only the linear layer is trained.
    """

    epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs of fine-tuning. With 0, only a linear layer on the frozen backbone is trained.",
        ),
    ] = 30
    size: ImageSize = 224
    backbone: Annotated[
        str | None,
        typer.Option(
            help="The pretrained network: a torchvision classification network, or timm/NAME "
            "(needs the timm extra). "
            "Defaults to mobilenet_v2; with few landmarks or photos, to the shipped model's, "
            "on which they are taught."
        ),
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The backbone's weights: a safetensors file with torchvision's or timm's names, "
            "a .pth file of torchvision, or a model of this backbone (.pt), from which training goes on. "
            "Downloaded if omitted."
        ),
    ] = None

    def settings(self) -> dict[str, object]:
        return super().settings() | {"backbone": self.backbone}
