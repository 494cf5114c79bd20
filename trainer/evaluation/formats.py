"""Whether the model says the same in half precision and on other devices."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tagger.devices import CPU_BATCH, GPU_BATCH, Device, available_kinds
from trainer.evaluation.intervals import Measured, share_of

_KINDS = ("cpu", "cuda")
_BATCHES = {"cpu": CPU_BATCH, "cuda": GPU_BATCH}


@dataclass(frozen=True)
class Agreement:
    """How far scores on a device, in a number format, are from those that the other figures were computed from."""

    device: str
    number_format: str
    top1: Measured  # of the photos of landmarks
    same_name: Measured  # share of those whose first name is the same
    same_outcome: Measured  # share of all photos with the same accepted name, or none in both
    largest_difference: float  # of any score of any photo


def other_devices(reference: Device) -> list[Device]:
    """Every device of this machine in float32 and in bfloat16, but for the reference."""
    return [
        Device(kind, dtype, _BATCHES[kind])
        for kind in _KINDS
        if kind in available_kinds()
        for dtype in (torch.float32, torch.bfloat16)
        if (kind, dtype) != (reference.kind, reference.dtype)
    ]


def missing_devices() -> tuple[str, ...]:
    """The devices that this machine lacks, so that nothing is known of them."""
    return tuple(kind for kind in _KINDS if kind not in available_kinds())


def compare_all(
    devices: Sequence[Device],
    seen: Sequence[Tensor],
    others: Sequence[Tensor],
    targets: Tensor,
    threshold: float,
) -> tuple[Agreement, ...]:
    """Compare each device's scores with the first one's.

    Args:
        devices: the reference first
        seen: of each device, the scores of photos of landmarks, float32 (N, L)
        others: of each device, those of distractors, float32 (M, L)
        targets: int64 (N,)
        threshold: from which a label is accepted
    """
    return tuple(
        Agreement(
            device=device.kind,
            number_format=format_name(device),
            top1=share_of(mine.argmax(dim=1) == targets),
            same_name=share_of(mine.argmax(dim=1) == seen[0].argmax(dim=1)),
            same_outcome=share_of(
                _outcomes(torch.cat([mine, other]), threshold)
                == _outcomes(torch.cat([seen[0], others[0]]), threshold)
            ),
            largest_difference=(torch.cat([mine, other]) - torch.cat([seen[0], others[0]]))
            .abs()
            .max()
            .item(),
        )
        for device, mine, other in zip(devices[1:], seen[1:], others[1:], strict=True)
    )


def format_name(device: Device) -> str:
    """The number format's name without torch's prefix: `bfloat16`."""
    return str(device.dtype).removeprefix("torch.")


def _outcomes(scores: Tensor, threshold: float) -> Tensor:
    """The accepted label of each photo, -1 where there is none; int64 (N,)."""
    top, predicted = scores.max(dim=1)
    return torch.where(top >= threshold, predicted, -1)
