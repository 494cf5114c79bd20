"""Teachers: which scores a network learns from finished models."""

from pathlib import Path

import pytest
import torch
from support.artifacts import LABELS, colour_of, tiny_artifact
from support.small_world import draw_small_world, train, transfer_options

from tagger.model.artifact import file_digest
from tagger.model.devices import Device
from trainer.errors import TrainingFailed
from trainer.export.artifact import export_run
from trainer.learning.teachers import Teachers

CPU = Device("cpu", "float32", 4)


def plain_image(colour: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32)


def test_a_label_has_the_mean_score_of_those_who_know_it(tmp_path: Path) -> None:
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    tiny_artifact(one)
    tiny_artifact(other, labels=LABELS[1:], seed=1)
    images = torch.cat([plain_image(colour_of(0)), plain_image(colour_of(1)), plain_image((9, 9, 9))])

    outcomes = Teachers([one, other], LABELS, CPU).outcomes(images)

    alone = Teachers([one], LABELS, CPU).outcomes(images)
    theirs = Teachers([other], LABELS[1:], CPU).outcomes(images)
    means = torch.cat([alone[:, :1], (alone[:, 1:4] + theirs[:, :3]) / 2], dim=1)
    assert torch.allclose(outcomes[:, :4], means / means.sum(dim=1, keepdim=True).clamp(min=1))
    assert torch.allclose(outcomes.sum(dim=1), torch.ones(3))
    assert outcomes[0].argmax() == 0
    assert outcomes[2].argmax() == 4


def test_scores_that_agree_with_the_teachers_cost_least(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "model.pt")
    teachers = Teachers([tmp_path / "model.pt"], LABELS, CPU)
    images = plain_image((140, 90, 60)).float()
    agreeing = teachers.outcomes(images.to(torch.uint8)).log()
    two_backgrounds = torch.cat(
        [agreeing[:, :4], (agreeing[:, 4:] - torch.tensor(2.0).log()).expand(1, 2)], dim=1
    )

    least = teachers.loss(images, two_backgrounds)

    assert torch.isclose(least, -(agreeing.exp() * agreeing).sum(), atol=1e-5)
    assert all(teachers.loss(images, two_backgrounds + torch.randn(1, 6)) > least for _ in range(5))


def test_a_label_that_no_teacher_knows_is_named(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "model.pt", labels=LABELS[1:])

    with pytest.raises(TrainingFailed, match="no teacher knows Eiffel Tower"):
        Teachers([tmp_path / "model.pt"], LABELS, CPU)


def test_the_run_of_a_taught_network_records_its_teachers(tmp_path: Path) -> None:
    world = draw_small_world(tmp_path)
    train(transfer_options(world, world / "teacher", epochs=0))
    model = tmp_path / "model.pt"
    export_run(world / "teacher", model, name=None)

    run = train(transfer_options(world, world / "run", epochs=1, teacher=[model]))

    assert run.record.training["teachers"] == [f"blake3:{file_digest(model)}"]
