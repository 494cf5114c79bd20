"""A learner on disk: everything that the next epoch depends on, so that a run that was killed goes on from the last one.

Tensors lie in a safetensors file, all else in its metadata; nothing is unpickled.
"""

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer.errors import CheckpointUnusable, writing_to
from trainer.learning.loop import Epoch, Learner, Network

NETWORK, AVERAGE, OPTIMISER = "network.", "average.", "optimiser."

_HISTORY = TypeAdapter(list[Epoch])


def save_checkpoint(path: Path, learner: Learner[Network], settings: dict[str, object]) -> None:
    """Write the learner, whole or not at all.

    Args:
        path: of the file
        learner: after an epoch
        settings: what shapes the run; it can be resumed with the same only

    Raises:
        OutputUnwritable: with the reason.
    """
    tensors = {NETWORK + name: values for name, values in learner.network.state_dict().items()}
    tensors |= {AVERAGE + name: values for name, values in learner.average.state_dict().items()}
    for number, state in learner.optimiser.state_dict()["state"].items():
        tensors |= {f"{OPTIMISER}{number}.{name}": values for name, values in state.items()}
    metadata = {
        "settings": json.dumps(settings, sort_keys=True),
        "history": json.dumps([asdict(epoch) for epoch in learner.history]),
    }
    partial = path.with_name(path.name + ".partial")
    with writing_to(path):
        save_file(
            {name: values.detach().cpu().contiguous() for name, values in tensors.items()}, partial, metadata
        )
        partial.replace(path)


def resume_checkpoint(path: Path, learner: Learner[Network], settings: dict[str, object]) -> None:
    """Bring the learner to where the checkpoint was written.

    Raises:
        CheckpointUnusable: it is damaged, or of a run with other settings.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            _require_same(path, json.loads(metadata["settings"]), settings)
            history = _HISTORY.validate_json(metadata["history"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        learner.network.load_state_dict(_part(tensors, NETWORK))
        learner.average.load_state_dict(_part(tensors, AVERAGE))
        _fill_optimiser(learner, _part(tensors, OPTIMISER))
    except (OSError, SafetensorError, KeyError, ValueError, ValidationError, RuntimeError) as error:
        raise CheckpointUnusable(path=path, reason=f"it is damaged ({str(error).splitlines()[0]})") from error
    learner.history[:] = history


def _require_same(path: Path, then: dict[str, object], now: dict[str, object]) -> None:
    now = json.loads(json.dumps(now))
    # What a person chose comes before the plan that follows from it.
    for name in sorted(then.keys() | now.keys(), key=lambda name: (isinstance(now.get(name), dict), name)):
        if then.get(name) != now.get(name):
            reason = f"it was made with another {name} ({then.get(name)}, now {now.get(name)})"
            raise CheckpointUnusable(path=path, reason=reason)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}


def _fill_optimiser(learner: Learner[Network], tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, values in tensors.items():
        number, _, entry = name.partition(".")
        state.setdefault(int(number), {})[entry] = values
    groups = learner.optimiser.state_dict()["param_groups"]
    learner.optimiser.load_state_dict({"state": state, "param_groups": groups})
