"""Teachers: finished models whose scores a network learns to give, beside the labels of the photos."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from tagger.model.artifact import Label, file_digest, load_module, read_manifest
from tagger.model.devices import Device
from trainer.errors import TrainingFailed
from trainer.learning.classifier import outcome_logits


class Teachers:
    """The mean of several models' scores, of which each may know only some of the labels.

    A network that sees the same views, altered and mixed alike, learns what the models have in common
    ("Knowledge distillation: a good teacher is patient and consistent", Beyer et al., 2022).
    """

    def __init__(self, paths: Sequence[Path], labels: Sequence[Label], device: Device) -> None:
        """Load the models.

        Raises:
            ModelRefused, TrainingFailed: with what to change.
        """
        self._device = device
        self._models = [load_module(path, file_digest(path)).float().eval().to(device.kind) for path in paths]
        position = {label.slug: number for number, label in enumerate(labels)}
        slugs = [[label.slug for label in read_manifest(path).labels] for path in paths]
        # Each model's scores, float (B, its labels), times its matrix are scores of all labels, float (B, L).
        self._columns = []
        for known in slugs:
            columns = torch.zeros(len(known), len(labels))
            for row, slug in enumerate(known):
                if slug in position:
                    columns[row, position[slug]] = 1
            self._columns.append(columns.to(device.kind))
        knowing = torch.stack([columns.sum(dim=0) for columns in self._columns]).sum(dim=0)
        if not bool(knowing.all()):
            missing = labels[int(knowing.argmin())].name
            raise TrainingFailed(
                reason=f"no teacher knows {missing}", remedy="Name a --teacher that was trained with it"
            )
        self._knowing = knowing

    @torch.no_grad()
    def outcomes(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → float32 (B, L + 1): the probability of each label, and last of none of them.

        A label's is the mean of the models that know it.
        """
        device = self._device
        with torch.autocast(device.kind, device.dtype, enabled=device.dtype != torch.float32):
            outputs = [model(images) for model in self._models]
        scores = [(output[0] if isinstance(output, tuple) else output).float() for output in outputs]
        sums = [part @ columns for part, columns in zip(scores, self._columns, strict=True)]
        known = torch.stack(sums).sum(dim=0) / self._knowing
        total = known.sum(dim=1, keepdim=True)
        known = known / total.clamp(min=1)
        return torch.cat([known, 1 - known.sum(dim=1, keepdim=True)], dim=1)

    def loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """The cross entropy of a network's logits, float (B, C), for float images (B, 3, H, W) of 0…255."""
        outcomes = self.outcomes(images.round().to(torch.uint8))
        return functional.cross_entropy(outcome_logits(logits, outcomes.shape[1] - 1), outcomes)
