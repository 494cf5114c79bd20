"""What a person chooses for a run, whatever the recipe; the rest was tuned on validation photos and stands in the recipes."""

from dataclasses import dataclass
from pathlib import Path

PIXELS = "pixels"
PRECISION = 0.98
"""Of 65 ordinary photos, say, one is worth more than a point: more than this cannot be told from few of them."""


@dataclass(frozen=True)
class Options:
    """`None` leaves the choice to the recipe; `cache` is where decoded photos are kept (None: in the run's folder).

    `precision`: how many of the accepted labels should be right, 0…1.
    """

    data: Path
    unknown: Path | None
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
        return self.cache or self.out / PIXELS

    def settings(self) -> dict[str, object]:
        """What has to be the same for a run to be resumed."""
        return {
            "epochs": self.epochs,
            "size": self.size,
            "batch size": self.batch_size,
            "learning rate": self.learning_rate,
            "seed": self.seed,
        }
