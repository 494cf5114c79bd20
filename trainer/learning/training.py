"""Train a network on prepared photos: the training loop with batches, validation, progress and checkpoints.

A checkpoint has everything the next epoch depends on: tensors in a safetensors file, all else in its metadata. Nothing
is unpickled.
"""

import ctypes
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tagger.cli.output.console import ProgressLine
from tagger.model.devices import Device
from tagger.photos.folders import new_file
from trainer.data.preparation import TrainingData
from trainer.errors import TrainingFailed, writing_to
from trainer.learning.batches import TrainingSet
from trainer.learning.classifier import TrainingNetwork, measure_logits
from trainer.learning.loop import Epoch, Network, TrainingPlan, TrainingState, Validation, fit
from trainer.learning.teachers import Teachers
from trainer.progress import PhotoCounter

VALIDATION_BATCH = 32
CHECKPOINT = Path("checkpoint", "training.safetensors")
NETWORK, AVERAGE, OPTIMISER = "network.", "average.", "optimiser."
"""Prefixes of tensor names in a checkpoint."""
_HISTORY = TypeAdapter(list[Epoch])
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_RETAINED_BYTES = 2**30

log = logging.getLogger("trainer")


def train_network(
    data: TrainingData,
    state: TrainingState[TrainingNetwork],
    plan: TrainingPlan,
    device: Device,
    *,
    out: Path,
    settings: dict[str, object],
    resume: bool,
    teachers: Sequence[Path] = (),
) -> None:
    """Train the network, float images (B, 3, H, W) of 0…255 → logits (B, C); write a checkpoint to `out` after every epoch.

    The result is in `state`: the averaged network, and the figures of its epochs. `settings` are further settings that must stay the same to resume the run. `resume`: continue from the run's
    checkpoint, if there is one.

    Raises:
        TrainingFailed, OutputUnwritable: with what to change.
    """
    keep_freed_memory()
    teach = Teachers(teachers, data.labels, device).loss if teachers else None
    photos = TrainingSet(
        data.cached,
        data.training,
        data.classes_of_photos[data.training],
        data.training_weights(plan.balance),
        plan.augmentation,
        plan.batch_size,
        plan.seed,
    )
    settings = settings | {"plan": asdict(plan), "photos": data.provenance()["digest"]}
    checkpoint = out / CHECKPOINT
    if resume and checkpoint.exists():
        resume_checkpoint(checkpoint, state, settings)
        log.info("resuming after epoch %d of %d", len(state.history), plan.epochs)

    def finish_epoch(epoch: Epoch) -> None:
        save_checkpoint(checkpoint, state, settings)
        log.info(
            "epoch %d of %d: loss %.4f, validation loss %.4f, validation top-1 before calibration %.1f %%, rate %.1e, %.0f photos/s, %.0f s",
            epoch.number,
            plan.epochs,
            epoch.loss,
            epoch.validation.loss,
            100 * epoch.validation.top1,
            epoch.learning_rate,
            epoch.images_per_second,
            epoch.seconds,
        )

    epoch_photos = photos.steps * plan.batch_size
    with ProgressLine("training") as line:
        counter = PhotoCounter(line, plan.epochs * epoch_photos, len(state.history) * epoch_photos)
        fit(
            state,
            photos,
            data.classes,
            plan,
            device,
            validate=lambda network: _validate(network, data, plan.sizes[-1], device),
            on_step=lambda count, loss: counter.advance(
                count, f"epoch {len(state.history) + 1}, loss {loss:.3f}"
            ),
            on_epoch=finish_epoch,
            teach=teach,
        )
    state.average.cpu()


def _validate(network: nn.Module, data: TrainingData, size: int, device: Device) -> Validation:
    """Measure the network on the validation photos, scaled to `size` pixels."""
    positions = data.validation
    autocast = torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32)
    with torch.inference_mode(), autocast:
        parts = [
            positions[first : first + VALIDATION_BATCH]
            for first in range(0, len(positions), VALIDATION_BATCH)
        ]
        batches = (data.cached.scaled(part.tolist(), size) for part in parts)
        logits = torch.cat([network(images.to(device.kind)).float().cpu() for images in batches])
    return measure_logits(logits, torch.from_numpy(data.targets[positions]), len(data.labels))


def save_checkpoint(path: Path, state: TrainingState[Network], settings: dict[str, object]) -> None:
    """Write the training state atomically.

    Args:
        path: the checkpoint file
        state: the state after an epoch
        settings: settings that must stay the same to resume

    Raises:
        OutputUnwritable: with the reason.
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


def keep_freed_memory() -> None:
    """Let the process retain up to a gigabyte of freed memory, on Linux with glibc; does nothing elsewhere.

    Every training step frees and allocates the same large blocks. By default each returns to the system and comes back as
    zeroed pages, which takes a seventh of the time.
    """
    if sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _RETAINED_BYTES)
        set_option(_TRIM_THRESHOLD, _RETAINED_BYTES)
