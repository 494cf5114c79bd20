"""The state of a training after an epoch, and its checkpoint, a safetensors file.

A checkpoint has everything the next epoch depends on. Nothing is unpickled.
"""

import copy
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tagger.photos.files import new_file
from trainer.errors import TrainingFailed, writing_to

CHECKPOINT = Path("checkpoint", "training.safetensors")
# Prefixes of tensor names in a checkpoint.
NETWORK, AVERAGE, OPTIMISER = "network.", "average.", "optimiser."


@dataclass(frozen=True)
class Validation:
    """Loss and top-1 of the averaged network on validation photos."""

    loss: float
    top1: float


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch. `learning_rate` is the highest of all groups at its end."""

    number: int
    loss: float
    validation: Validation
    learning_rate: float = 0.0
    seconds: float = 0.0
    images_per_second: float = 0.0


Network = TypeVar("Network", bound=nn.Module)


@dataclass
class TrainingState(Generic[Network]):
    """Everything that changes in training. `average`, the averaged network, is the result.

    The optimiser's groups have their highest learning rate under "highest_rate".
    """

    network: Network
    optimiser: torch.optim.Optimizer
    average: Network = field(init=False)
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False).eval()


_HISTORY = TypeAdapter(list[Epoch])


def save_checkpoint(path: Path, state: TrainingState[Network], settings: dict[str, object]) -> None:
    """Write the training state atomically.

    Args:
        path: the checkpoint file
        state: the state after an epoch
        settings: settings that must stay the same to resume
    """
    tensors = {NETWORK + name: values for name, values in state.network.state_dict().items()}
    tensors |= {AVERAGE + name: values for name, values in state.average.state_dict().items()}
    for number, entries in state.optimiser.state_dict()["state"].items():
        tensors |= {f"{OPTIMISER}{number}.{name}": values for name, values in entries.items()}
    metadata = {
        "settings": json.dumps(settings, sort_keys=True),
        "history": json.dumps([asdict(epoch) for epoch in state.history]),
    }
    with writing_to(path), new_file(path) as partial:
        save_file(
            {name: values.detach().cpu().contiguous() for name, values in tensors.items()}, partial, metadata
        )


def resume_checkpoint(path: Path, state: TrainingState[Network], settings: dict[str, object]) -> None:
    """Restore the training state of a checkpoint into `state`.

    Raises:
        TrainingFailed: it is damaged, or its settings differ.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            stored, current = json.loads(metadata["settings"]), json.loads(json.dumps(settings))
            # Report what the user chose before the plan that follows from it.
            names = stored.keys() | current.keys()
            for name in sorted(names, key=lambda name: (isinstance(current.get(name), dict), name)):
                if stored.get(name) != current.get(name):
                    reason = f"it has another {name} ({stored.get(name)}, now {current.get(name)})"
                    raise _not_resumed(path, reason)
            history = _HISTORY.validate_json(metadata["history"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        state.network.load_state_dict(_with_prefix(tensors, NETWORK))
        state.average.load_state_dict(_with_prefix(tensors, AVERAGE))
        entries: dict[int, dict[str, Tensor]] = {}
        for name, values in _with_prefix(tensors, OPTIMISER).items():
            number, _, entry = name.partition(".")
            entries.setdefault(int(number), {})[entry] = values
        groups = state.optimiser.state_dict()["param_groups"]
        state.optimiser.load_state_dict({"state": entries, "param_groups": groups})
    except (OSError, SafetensorError, KeyError, ValueError, ValidationError, RuntimeError) as error:
        raise _not_resumed(path, f"it is damaged ({str(error).splitlines()[0]})") from error
    state.history[:] = history


def _not_resumed(checkpoint: Path, reason: str) -> TrainingFailed:
    remedy = "Train without --resume to start over"
    return TrainingFailed(reason=f"the checkpoint {checkpoint} cannot be resumed: {reason}", remedy=remedy)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}
