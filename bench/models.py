"""The model that the package ships."""

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "tagger" / "shipped" / "landmarks.pt"
