"""Tags in libraries of photos that a last layer has not learnt."""

from pathlib import Path

import numpy as np
import torch
from support.artifacts import LABELS
from torch import Tensor

from bench.library import Photos, measure_split
from trainer.data.folders import LabelledPhoto
from trainer.data.pixels import CachedPhotos
from trainer.data.preparation import TrainingData
from trainer.evaluation.mixture import FAMILY
from trainer.learning.head import FeatureSet


def test_a_last_layer_is_measured_in_libraries_of_landmarks_that_it_has_not_learnt() -> None:
    figures = [measure_split(photos_of_landmarks(), FAMILY, number) for number in (0, 1)]

    for _, precision, tagged, named, other, ordinary in figures:
        assert precision > 0.9
        assert 0.9 < tagged <= named
        assert other == ordinary == 0


def photos_of_landmarks() -> Photos:
    """Features of three landmarks, of twenty other ones, and of ordinary photos, each around a point."""
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(24, 16, generator=generator).abs()
    kinds = torch.arange(24).repeat_interleave(20)
    names = [*(label.label for label in LABELS[:3]), *[f"place-{number}" for number in range(20)], "things"]

    def features(of_kinds: Tensor) -> Tensor:
        return (centres[of_kinds] + 0.5 * torch.randn(len(of_kinds), 16, generator=generator)).clamp(min=0)

    photos = tuple(
        LabelledPhoto(
            Path(f"{number}.jpg"),
            names[kind] if kind < 3 else None,
            place=names[kind] if 3 <= kind < 23 else None,
            kind=names[kind] if kind == 23 else "",
        )
        for number, kind in enumerate(kinds.tolist())
    )
    is_place = (kinds >= 3) & (kinds < 23)
    is_validation = torch.where(is_place, kinds % 2 == 0, torch.arange(len(kinds)) % 4 == 0).numpy()

    data = TrainingData(
        LABELS[:3],
        CachedPhotos(photos, (), Path(), 32),
        np.array([""] * len(kinds)),
        kinds.clamp(max=3).numpy(),
        is_validation,
        np.zeros(len(kinds), dtype=bool),
    )
    views = features(kinds)[:, None]
    validation = FeatureSet(views[is_validation], kinds.clamp(max=3)[is_validation])
    known = torch.arange(3).repeat_interleave(20)
    return Photos(
        data, views, validation, FeatureSet(features(known)[:, None], known), features(torch.full((60,), 23))
    )
