"""The report of a tiny model on drawn photos, most of which it does not recognise, and its answer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rig.drawing import draw_photo, save_photos
from support.artifacts import LABELS, tiny_artifact

from tagger.model.artifact import Label, file_digest, read_manifest
from tagger.model.devices import Device
from tagger.model.model import load_model
from trainer.evaluation import (
    MOST_MISTAKES,
    Assessment,
    Evaluation,
    confident_mistakes,
    evaluate,
    score_photos,
    wilson_interval,
)
from trainer.options import FAMILY
from trainer.report import evaluation_document, write_report, write_validation_report

DRAWINGS = ("reliability.png", "mistakes.png", "false-tags.png")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    tiny_artifact(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Drawn photos in folders of the model's labels, and drawn distractors."""
    folder = tmp_path_factory.mktemp("drawn")
    for number, label in enumerate(LABELS[:3]):
        for path in save_photos(folder / "data" / "test" / label.label, 2 + number, (240, 180)):
            draw_photo(100 * number + int(path.stem[-4:]), (240, 180)).save(path, quality=90)
    save_photos(folder / "other" / "sheds", 3, (180, 240))
    save_photos(folder / "sights" / "a-sight", 2, (180, 240))
    save_photos(folder / "sights" / LABELS[0].label, 1, (180, 240))
    draw_photo(77, (200, 200)).save(folder / "other" / "alone.jpg")
    (folder / "other" / "sheds" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    return folder


@pytest.fixture(scope="module")
def evaluation(artifact, folder) -> Evaluation:
    return evaluate(
        artifact, folder / "data", folder / "other", folder / "sights", mixture=FAMILY, device="cpu"
    )


@pytest.fixture(scope="module")
def report(evaluation, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "new" / "report"
    write_report(replace(evaluation, false_tags=evaluation.mistakes[:2]), folder)
    return folder


def test_figures_are_those_of_the_scores(evaluation, artifact, folder):
    manifest = read_manifest(artifact)
    names = [label.label for label in manifest.labels]
    photos = sorted((folder / "data" / "test").rglob("*.jpg"))
    device = Device("cpu", "float32", 4)
    loaded = load_model(artifact, file_digest(artifact), manifest, device)
    _, scores = score_photos(photos, loaded, "")
    targets = [names.index(path.parent.name) for path in photos]
    ranks = [(row > row[target]).sum().item() for row, target in zip(scores, targets, strict=True)]
    figures = evaluation_document(evaluation)

    assert figures["photos"] == len(photos) == 9
    for key, k in (("top1", 1), ("top3", 3), ("top5", 5)):
        assert figures[key] == pytest.approx(sum(rank < k for rank in ranks) / 9)
        interval = wilson_interval(figures[key], 9)
        assert figures[f"{key}_interval"] == pytest.approx(interval)
    accepted = (scores.amax(dim=1) >= manifest.threshold).double().mean().item()
    assert figures["accepted"] == pytest.approx(accepted)
    assert sum(label["photos"] for label in figures["labels"]) == 9


def test_a_report_has_every_figure_its_interval_and_every_drawing(report):
    text = (report / "report.md").read_text("utf-8")

    for name in DRAWINGS:
        assert f"({name})" in text
        assert (report / name).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in report.iterdir()} == {*DRAWINGS, "report.md", "metrics.json"}
    assert text.index("top-1") < text.index("## Calibration") < text.index("## Landmarks")
    figures = json.loads((report / "metrics.json").read_text("utf-8"), parse_constant=pytest.fail)

    for name in ("top1", "top3", "top5", "ece", "accepted"):
        low, high = figures[f"{name}_interval"]
        assert 0 <= low <= high <= 1
        assert 0 <= figures[name] <= 1


def test_mistakes_and_figures_say_what_they_are_of():
    scores = torch.tensor([[0.9, 0.05], [0.3, 0.6], [0.2, 0.7], [0.8, 0.1]])
    paths = [Path(f"{number}.jpg") for number in range(4)]
    mistakes = confident_mistakes(["A", "B"], paths, scores, torch.tensor([0, 0, 0, 2]), least_score=0.65)

    assert [(mistake.path.name, mistake.shown, mistake.predicted) for mistake in mistakes] == [
        ("3.jpg", None, "A"),
        ("2.jpg", "A", "B"),
    ]
    many = confident_mistakes(
        ["A", "B"], [Path("x")] * 99, torch.tensor([[0.1, 0.5]] * 99), torch.zeros(99).long()
    )
    assert len(many) == MOST_MISTAKES
    assessment = replace(GOOD, trained=3, library_precision=0.9, mixture="5:15:80")
    left_out, *figures = list(assessment.lines(EXPORT))[:5]
    assert left_out.startswith("3 photos are left out")
    assert figures == [
        "40 test photos of landmarks: 95.0 % have the right first prediction, 90.0 % get the right tag",
        "of their tags, 98.0 % are right",
        LIBRARY,
        "ordinary photos: 4.0 % get a false tag",
    ]


@pytest.mark.slow
def test_validation_photos_get_drawings_and_ordinary_ones_are_mistakes_only_if_named(folder, tmp_path):
    labels = [
        Label(label="a", slug="a", name="Cost $5 | or $6"),
        Label(label="b", slug="b", name="東京タワー"),
        Label(label="c", slug="c", name="No photos"),
    ]
    paths = sorted((folder / "data" / "test").rglob("*.jpg"))[:4]
    scores = torch.tensor([[0.9, 0.1, 0], [0.8, 0.1, 0], [0.7, 0.1, 0.1], [0.1, 0.2, 0.1]])
    write_validation_report(tmp_path, labels, scores, torch.tensor([0, 1, 3, 3]), paths)

    for name in ("reliability.png", "mistakes.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    write_validation_report(tmp_path, labels, scores[[0, 3]], torch.tensor([0, 3]), paths[:2])
    assert not (tmp_path / "mistakes.png").exists()


def test_a_library_is_judged_without_places_that_have_a_label(evaluation):
    library = evaluation_document(evaluation)["library"]
    assert (library["mixture"], library["other_photos"], library["ordinary_photos"]) == ("5:15:80", 2, 4)
    assert 0 <= library["precision"] <= 1


ADD_PHOTOS, EXPORT = "add photos, then train again", "trainer export runs/a --out MODEL.pt"
MILLS = {f"Mill{number}": 4 for number in range(12)}
LIBRARY = (
    "of the tags in a library of 5:15:80 photos of the model's landmarks, of others and of anything else, "
    "90.0 % are right"
)
GOOD = Assessment("test", 40, 0.95, 0.9, 0.98, {"ordinary photos": 0.04}, is_tested=True, photos_of={})


@pytest.mark.parametrize(
    ("assessment", "answer", "following"),
    [
        (GOOD, "good enough to use", EXPORT),
        (replace(GOOD, is_tested=False), "not known whether it is good enough to use: at least 20", EXPORT),
        (replace(GOOD, right_tags=0.69), "not good enough to use: at least 70 % of the photos", ADD_PHOTOS),
        (replace(GOOD, precision=0.89), "not good enough to use: at least 70 % of the photos", ADD_PHOTOS),
        (replace(GOOD, library_precision=0.89), "not good enough to use: at least 70 %", ADD_PHOTOS),
        (replace(GOOD, photos=19, right_tags=0.1), "not known whether it is good enough to use: 20", EXPORT),
        (replace(GOOD, photos_of={"Mill": 4, "Arch": 19}), "not good enough to use yet: every", ADD_PHOTOS),
        (replace(GOOD, photos_of=MILLS | {"Tower": 20}), "good enough to use, apart from these", EXPORT),
    ],
)
def test_the_answer_and_the_next_step_follow_from_the_figures(assessment, answer, following):
    *_, few, said, last = assessment.lines(EXPORT)
    assert said.startswith(answer)
    assert last == f"next: {following}"
    if assessment.photos_of == MILLS | {"Tower": 20}:
        assert few.startswith("too few photos of Mill0 (4), Mill1 (4), ")
        assert "Mill9 (4) and 2 more; add some, to 20 or more each" in few
