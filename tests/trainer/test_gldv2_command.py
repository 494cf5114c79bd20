"""`trainer data gldv2`: from archives of the published form to an index and its GAP, continued, repeated, and with damaged archives."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from support.command_line import CommandRunner
from support.landmarks_dataset import photo_id, write_archive, write_checksum, write_lists
from support.teaching import draw_place, teachable_artifact

from tagger.library.teaching.classifiers import Direction, EmbeddingSpace
from tagger.model.artifact import BackgroundStatistics
from trainer.gldv2 import embeddings, landmark_index
from trainer.gldv2.embeddings import read_embeddings
from trainer.gldv2.landmark_index import LandmarkIndex, write_index
from trainer.gldv2.recipe import challenge_gap

PLACES = {101: "Château de Chillon", 205: "Kölner Dom", 333: "Unvisited"}
PHOTOS_EACH = 6
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "google-landmarks.md"
DIMENSION, LANDMARKS = 96, 2500


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Three archives of two places with six photos each, and one more place whose photos are in no archive."""
    folder = tmp_path / "gldv2"
    teachable_artifact(tmp_path / "places.pt")
    ids = {place: [photo_id(place * 100 + seed) for seed in range(PHOTOS_EACH)] for place in PLACES}
    write_lists(folder, ids, PLACES)
    for number in range(3):
        shown = [(place, seed) for place in (101, 205) for seed in (number, number + 3)]
        photos = {ids[place][seed]: photo(tmp_path, place, seed) for place, seed in shown}
        unlisted = {photo_id(number): photo(tmp_path, 900, number)}
        write_archive(folder / "train" / f"images_00{number}.tar", photos | unlisted)
    return folder


def photo(folder: Path, place: int, seed: int) -> bytes:
    return draw_place(folder / "drawn.jpg", place, seed=seed, noise=0.2).read_bytes()


def write_test_set(folder: Path, tmp_path: Path) -> None:
    """Photos of both places, one of another, and the solution. The second photo is said to show something else."""
    shown = {photo_id(1): 101, photo_id(2): 205, photo_id(3): 205, photo_id(4): 900}
    write_archive(
        folder / "test" / "images_000.tar",
        {each: photo(tmp_path, place, 50) for each, place in shown.items()},
    )
    rows = [f"{photo_id(1)},101,Public", f"{photo_id(2)},7 8,Public", f"{photo_id(3)},205 8,Private"]
    rows += [f"{photo_id(4)},,Private"]
    solution = folder / "recognition_solution_v2.1.csv"
    solution.write_text("\n".join(["id,landmarks,Usage", *rows]) + "\n")


def test_an_index_is_learned_and_measured(published: Path, data: CommandRunner, tmp_path: Path) -> None:
    write_test_set(published, tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    command = re.findall(r"^trainer data (gldv2 .*)$", page, re.MULTILINE)[0].split()
    output = data(*command, "--json", folder=tmp_path)

    assert output.code == 0, output.err
    figures = output.json
    documented = set(re.findall(r"`(\w+)`", page))
    assert {name.removeprefix("test_") for name in figures} <= documented
    assert (figures["archives"], figures["earlier_archives"], figures["left_out"]) == (3, 0, {})
    assert (figures["photos"], figures["landmarks"], figures["test_photos"]) == (12, 2, 4)
    # Of the public photos one is right; its rank depends on the other's score.
    assert figures["gap_public"] in (0.5, 0.25)
    assert figures["gap_private"] == 1
    files = sorted(path.name for path in (tmp_path / "gldv2-places").iterdir())
    assert files == ["landmarks.safetensors", "test", "train"]

    again = data(*command, "--json", folder=tmp_path).json
    assert (again["archives"], again["earlier_archives"], again["photos"]) == (0, 3, 12)


def test_archives_may_come_and_go(published: Path, data: CommandRunner, tmp_path: Path) -> None:
    def figures() -> tuple[int, int, int]:
        arguments = ("--model", tmp_path / "places.pt", "--out", tmp_path / "out", "--json")
        document = data("gldv2", published, *arguments).json
        return document["archives"], document["earlier_archives"], document["photos"]

    later = published / "train" / "images_001.tar"
    later.rename(tmp_path / later.name)
    assert figures() == (2, 0, 8)
    (published / "train" / "images_000.tar").unlink()
    (tmp_path / later.name).rename(later)
    assert figures() == (1, 1, 12)
    # An archive that was published anew is read again, and another model reads all.
    write_archive(later, {photo_id(10100): photo(tmp_path, 101, 0)})
    assert figures() == (1, 1, 9)
    teachable_artifact(tmp_path / "places.pt", seed=1)
    assert figures() == (2, 0, 5)


def test_damaged_archives_and_photos_are_left_out(
    published: Path, data: CommandRunner, tmp_path: Path
) -> None:
    first, second, third = sorted((published / "train").glob("*.tar"))
    content = bytearray(first.read_bytes())
    content[-2000] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:3000])
    damaged = photo_id(10102), b"\xff\xd8\xff no photo"
    write_archive(third, {photo_id(20502): photo(tmp_path, 205, 2), damaged[0]: damaged[1]})
    arguments = ("--model", tmp_path / "places.pt", "--out", tmp_path / "out", "--json")
    output = data("gldv2", published, *arguments)

    assert output.code == 3
    assert sorted(output.json["left_out"]) == ["images_000.tar", "images_001.tar"]
    assert "its MD5 is" in output.json["left_out"]["images_000.tar"]
    assert (output.json["photos"], output.json["unreadable"], output.json["landmarks"]) == (1, 1, 1)
    assert f"skipped: images_002.tar: {damaged[0]}" in output.err
    assert [file.name for file in (tmp_path / "out" / "train").iterdir()] == ["images_002.safetensors"]

    write_checksum(first)
    assert data("gldv2", published, *arguments).json["photos"] == 5


def test_an_interrupted_run_continues_with_the_next_archive(
    published: Path, data: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reads = embeddings.read_archive, list[str]()

    def interrupt_in_the_second(archive: Path, is_needed: object) -> object:
        reads.append(archive.name)
        photos = read(archive, is_needed)  # type: ignore[arg-type]
        yield next(photos)
        if len(reads) == 2:
            raise KeyboardInterrupt
        yield from photos

    arguments = ("--model", tmp_path / "places.pt", "--out", tmp_path / "out", "--json")
    monkeypatch.setattr(embeddings, "read_archive", interrupt_in_the_second)
    output = data("gldv2", published, *arguments)
    assert output.code == 130
    assert "repeat the command to continue after the last finished archive" in output.err
    assert [file.name for file in (tmp_path / "out" / "train").iterdir()] == ["images_000.safetensors"]

    assert data("gldv2", published, *arguments).json["photos"] == 12
    assert reads == ["images_000.tar", "images_001.tar", "images_001.tar", "images_002.tar"]
    whole = read_embeddings(tmp_path / "out" / "train" / "images_001.safetensors")
    assert whole.embeddings.shape[0] == len(np.unique(whole.ids)) == 4


def test_what_cannot_be_used_is_named_with_a_remedy(
    published: Path, data: CommandRunner, tmp_path: Path
) -> None:
    def refusal(*more: object) -> str:
        output = data("gldv2", published, "--model", tmp_path / "places.pt", "--out", tmp_path / "out", *more)
        assert output.code == 1
        return output.err.splitlines()[-1]

    assert "solution.csv" in refusal("--solution", tmp_path / "solution.csv")
    for archive in (published / "train").glob("*.tar"):
        archive.unlink()
    assert "it has no whole archive" in refusal()
    (published / "train_label_to_category.csv").unlink()
    assert "train_label_to_category.csv cannot be used" in refusal()


def test_the_best_landmark_is_that_of_a_comparison_in_full_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landmark_index, "BLOCK", 1000)
    random = np.random.default_rng(0)
    mixing = random.normal(0, 1, (DIMENSION, DIMENSION)) / np.sqrt(DIMENSION)
    background = (1 + random.normal(0, 1, (2000, DIMENSION)) @ mixing).astype(np.float32)
    space = EmbeddingSpace.of(BackgroundStatistics.measured(background))
    places = random.normal(0, 1, (LANDMARKS, DIMENSION)) @ mixing
    weights = places @ space.precision
    weights /= np.sqrt(np.einsum("ld,ld->l", weights, places))[:, None]
    expected = random.uniform(3, 8, LANDMARKS)
    directions = [
        Direction(row, float(row @ space.mean), 4, each) for row, each in zip(weights, expected, strict=True)
    ]
    file = tmp_path / "index.safetensors"
    ids = [7 * number for number in range(LANDMARKS)]
    assert write_index(file, zip(ids, directions, strict=True), {7: "Dom"}, space, "digest") == LANDMARKS

    shown = random.integers(0, LANDMARKS, 200)
    photos = (space.mean + places[shown] + 0.5 * random.normal(0, 1, (200, DIMENSION)) @ mixing).astype(
        np.float32
    )
    scores = (photos - space.mean) @ weights.T / expected
    found, found_scores = LandmarkIndex.open(file).best(photos)

    same = found == 7 * scores.argmax(axis=1)
    assert same.mean() >= 0.98
    assert found_scores[same] == pytest.approx(scores.max(axis=1)[same], abs=0.01)
    with safe_open(file, "np") as tensors:
        assert tensors.metadata()["model"] == "digest"
        assert json.loads(tensors.metadata()["names"])["7"] == "Dom"


def test_gap_counts_photos_of_several_landmarks_of_none_and_without_a_guess() -> None:
    solution = {"a": frozenset({1}), "b": frozenset({2, 3}), "c": frozenset({4}), "d": frozenset[int]()}
    guesses = {"d": (1, 0.9), "b": (3, 0.8), "a": (1, 0.7), "elsewhere": (9, 1.0)}

    # Right at ranks 2 and 3; three photos show a landmark, and c has no guess.
    assert challenge_gap(guesses, solution) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert challenge_gap({}, solution) == 0
    assert challenge_gap(guesses, {"d": frozenset()}) == 0
