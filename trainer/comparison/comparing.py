"""All backbones of a comparison, one after the other; who fails, fails alone."""

import logging
from dataclasses import dataclass

import torch

from tagger.devices import Device, choose_device
from trainer.backbones import require_backbone
from trainer.comparison.choice import Choice, choose
from trainer.comparison.speed import Speed, measure_speeds
from trainer.comparison.trying import Plan, Tried, model_of, try_backbone
from trainer.errors import (
    ComparisonEmpty,
    ExportDisagrees,
    ExportImpossible,
    SizeUnsuitable,
    WeightsUnavailable,
    WeightsUnsuitable,
    writing_to,
)
from trainer.photos.data import find_ordinary_photos, read_training_folder

OWN_FAILURES = (ExportDisagrees, ExportImpossible, SizeUnsuitable, WeightsUnavailable, WeightsUnsuitable)
"""What one backbone can have and another not."""

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Row:
    """One backbone: what it reached and how fast it is, or else why it was not compared."""

    backbone: str
    tried: Tried | None
    speed: Speed | None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Every backbone that was asked for, in that order, and the one to take."""

    plan: Plan
    device: Device
    rows: tuple[Row, ...]
    choice: Choice


def compare_backbones(plan: Plan) -> Comparison:
    """Learn, export and measure every backbone of the plan; those that an earlier call finished are only timed again.

    Raises:
        BackboneUnknown, TimmMissing: before any work, as is whatever is wrong with the photos.
        ComparisonEmpty: not one backbone could be compared.
    """
    for backbone in plan.backbones:
        require_backbone(backbone)
    read_training_folder(plan.data)
    if plan.unknown:
        find_ordinary_photos(plan.unknown)
    with writing_to(plan.out):
        plan.out.mkdir(parents=True, exist_ok=True)

    outcomes = {backbone: _outcome(backbone, plan) for backbone in plan.backbones}
    tried = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Tried)}
    if not tried:
        raise ComparisonEmpty(reason=next(iter(outcomes.values())))
    device = choose_device(plan.device, None)
    speeds = measure_speeds({name: model_of(plan, name) for name in tried}, _photos(tried), device)
    rows = tuple(
        Row(name, outcome, speeds[name]) if isinstance(outcome, Tried) else Row(name, None, None, outcome)
        for name, outcome in outcomes.items()
    )
    return Comparison(plan, device, rows, choose(tried, speeds))


def _outcome(backbone: str, plan: Plan) -> Tried | str:
    """What the backbone reached, or why it is not compared."""
    try:
        return try_backbone(backbone, plan)
    except OWN_FAILURES as error:
        reason = str(error)
    except torch.OutOfMemoryError:
        reason = f"The memory of the device is too small for {backbone}. Compare it with --device cpu."
    log.warning("%s is not compared: %s", backbone, reason)
    return reason


def _photos(tried: dict[str, Tried]) -> tuple[str, ...]:
    """The photos to time with; all have the same, as all hold out alike."""
    return next(iter(tried.values())).validation_photos
