"""The network of our own among the backbones: built here, with nothing learned yet."""

from trainer.backbones.described import Convention, Normalisation
from trainer.backbones.scratch_network import LandmarkCNN
from trainer.backbones.sources import Built, State
from trainer.errors import WeightsUnavailable

LANDMARK_CNN = "landmark_cnn"
LEARNED_AT = 128
NORMALISATION = Normalisation((127.5, 127.5, 127.5), (63.75, 63.75, 63.75))
"""Photos come out with a mean about 0 and a deviation about 1."""


def network_names() -> list[str]:
    return [LANDMARK_CNN]


def build(_name: str, _convention: Convention) -> Built:
    return Built(LandmarkCNN(), left_off=(), normalisation=NORMALISATION, learned_at=LEARNED_AT)


def published_state(name: str) -> tuple[str, State]:
    raise WeightsUnavailable(backbone=name, reason="it is learned from scratch: `trainer train scratch`")
