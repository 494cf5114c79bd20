"""The options that users choose for a run. All other settings are tuned on validation photos and set by the recipes."""

from dataclasses import dataclass
from pathlib import Path

PIXELS = "pixels"
PRECISION = 0.98
"""The default precision. With about 65 ordinary photos, each counts for more than a percentage point, so a higher value cannot be verified."""


@dataclass(frozen=True)
class RecipeOptions:
    """Options of every recipe.

    `cache` is the folder of decoded photos (None: in the run folder). `learning_rate` None means the recipe's.
    `precision` is the share of accepted labels that should be right, 0…1.
    """

    data: Path
    unknown: Path | None
    others: Path | None
    out: Path
    cache: Path | None
    epochs: int
    size: int
    batch_size: int
    learning_rate: float | None
    device: str
    seed: int
    precision: float
    resume: bool

    @property
    def pixels(self) -> Path:
        """The folder of decoded photos."""
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


@dataclass(frozen=True)
class TransferOptions(RecipeOptions):
    """Options of the transfer recipe. `weights` is a file, or None for the published weights.

    With 0 epochs the backbone stays frozen and only the linear layer is trained.
    """

    backbone: str
    weights: Path | None

    def settings(self) -> dict[str, object]:
        return super().settings() | {"backbone": self.backbone}
