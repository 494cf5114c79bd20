"""`trainer data from-verdicts`: people's words as a folder to train on, with and without an earlier one."""

import csv
import shutil
from pathlib import Path

import pytest
from artifacts import tiny_artifact
from known import KnownPhotos
from said import Typed
from scenes import draw_scene, tree

from tagger.database import Database
from tagger.photos import digest_photo
from tagger.registry import add_model, use_model
from trainer.photos.data import read_training_folder
from trainer.photos.gazetteer import labels_with_landmarks

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
EIFFEL_LABEL, GATE_LABEL = "00.Eiffel_Tower", "01.Brandenburg_Gate"


class People:
    """Photos on disk that a model tagged, and what people say of them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder / "photos"
        tiny_artifact(folder / "tiny.pt")
        model = add_model(database, folder / "tiny.pt")
        use_model(database, model.name)
        self.known = KnownPhotos(database, self.folder, model)

    def photo(self, name: str, seed: int, *tags: tuple[str, float, bool], **words: str) -> Path:
        """A photo with the model's tags; `words` are verdicts by landmark, underscores for hyphens."""
        path = draw_scene(self.folder / name, seed)
        digest = digest_photo(path.read_bytes())
        self.known.photo(name, *tags, digest=digest)
        for slug, verdict in words.items():
            self.known.verdict(digest, slug.replace("_", "-"), verdict)
        return path


@pytest.fixture
def people(database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> People:
    monkeypatch.setenv("TAGGER_DATABASE_URL", database_url)
    monkeypatch.delenv("TAGGER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return People(database, tmp_path)


def judge(people: People) -> None:
    people.photo("a.jpg", 1, (EIFFEL, 0.9, True), eiffel_tower="confirmed")
    people.photo("deep/a.jpg", 2, (EIFFEL, 0.3, False), brandenburg_gate="confirmed", eiffel_tower="rejected")
    people.photo("b.jpg", 3, (GATE, 0.9, True), brandenburg_gate="rejected")
    people.photo("c.jpg", 4, (GATE, 0.8, True))


def test_confirmed_photos_are_labelled_and_rejected_ones_ordinary(
    data: Typed, people: People, tmp_path: Path
) -> None:
    judge(people)
    before = tree(people.folder)
    said = data("from-verdicts", "--out", tmp_path / "set", "--json")

    assert said.code == 0, said.err
    assert (said.json["confirmed"], said.json["ordinary"], said.json["left_out"]) == (2, 1, {})
    assert said.json["by_label"] == {EIFFEL_LABEL: 1, GATE_LABEL: 1}
    made = tree(tmp_path / "set")
    made.pop("landmarks.csv")
    assert made == {
        f"train/{EIFFEL_LABEL}/a.jpg": before["a.jpg"],
        f"train/{GATE_LABEL}/a.jpg": before["deep/a.jpg"],
        "unknown/b.jpg": before["b.jpg"],
    }
    assert tree(people.folder) == before
    assert read_training_folder(tmp_path / "set").labels == (EIFFEL_LABEL, GATE_LABEL)
    eiffel, gate = labels_with_landmarks([EIFFEL_LABEL, GATE_LABEL], tmp_path / "set")
    assert (eiffel.slug, eiffel.city, eiffel.latitude, eiffel.extent) == (EIFFEL, "Paris", 48.8584, "point")
    assert gate.slug == GATE


def test_what_nobody_can_learn_from_is_left_out_and_said(data: Typed, people: People, tmp_path: Path) -> None:
    judge(people)
    twice = people.photo("twice.jpg", 5, eiffel_tower="confirmed", brandenburg_gate="confirmed")
    people.photo("half.jpg", 6, (EIFFEL, 0.6, True), (GATE, 0.5, True), eiffel_tower="rejected")
    people.photo("deleted.jpg", 7, eiffel_tower="confirmed").unlink()
    people.photo("forgotten.jpg", 8, eiffel_tower="confirmed")
    people.known.gone("forgotten.jpg")
    draw_scene(people.photo("edited.jpg", 9, eiffel_tower="confirmed"), 99)
    said = data("from-verdicts", "--out", tmp_path / "set", "--json")

    assert said.code == 0, said.err
    assert said.json["left_out"] == {"several-confirmed": 1, "still-tagged": 1, "gone": 2, "changed": 1}
    assert said.json["several_confirmed"] == [str(twice)]
    assert said.json["confirmed"] == 2
    for text in ("confirmed for several landmarks", "twice.jpg", "no photo any more", "something else now"):
        assert text in said.err


def test_a_folder_that_is_away_is_said(data: Typed, people: People, tmp_path: Path) -> None:
    judge(people)
    shutil.move(people.folder, tmp_path / "elsewhere")
    said = data("from-verdicts", "--out", tmp_path / "set")
    assert said.code == 1
    assert "no photo is left of 3 (3 away)" in said.err
    assert not (tmp_path / "set").exists()


def test_a_picture_is_taken_once_from_whichever_copy_is_there(
    data: Typed, people: People, tmp_path: Path
) -> None:
    judge(people)
    shutil.copy(people.folder / "a.jpg", people.folder / "copy.jpg")
    people.known.photo("copy.jpg", digest=digest_photo((people.folder / "copy.jpg").read_bytes()))
    (people.folder / "a.jpg").unlink()
    assert data("from-verdicts", "--out", tmp_path / "set").code == 0
    assert [path.name for path in (tmp_path / "set" / "train" / EIFFEL_LABEL).iterdir()] == ["copy.jpg"]


def test_an_earlier_folder_comes_along_with_peoples_words_on_it(
    data: Typed, people: People, tmp_path: Path
) -> None:
    judge(people)
    earlier = tmp_path / "earlier"
    for number in range(10, 14):
        draw_scene(earlier / "train" / "Eiffel" / f"{number}.jpg", number)
    draw_scene(earlier / "train" / "Mill" / "20.jpg", 20)
    draw_scene(earlier / "test" / "Mill" / "21.jpg", 21)
    shutil.copy(people.folder / "a.jpg", earlier / "train" / "Eiffel" / "known.jpg")
    shutil.copy(people.folder / "deep" / "a.jpg", earlier / "test" / "Mill" / "wrong.jpg")
    (earlier / "train" / "Mill" / "broken.jpg").touch()
    (earlier / "landmarks.csv").write_text("label,slug,name\nEiffel,eiffel-tower,La Tour\n", encoding="utf-8")
    before = tree(earlier)
    said = data("from-verdicts", "--with", earlier, "--out", tmp_path / "set", "--json")

    assert said.code == 0, said.err
    wanted = {"confirmed": 0, "ordinary": 1, "earlier": 8, "known_already": 1, "relabelled": 1}
    assert {name: said.json[name] for name in wanted} == wanted
    assert "1 earlier photos cannot be read and are left out: train/Mill/broken.jpg" in said.err
    made = tree(tmp_path / "set")
    rows = list(csv.DictReader(made.pop("landmarks.csv").decode().splitlines()))
    assert [(row["label"], row["slug"], row["name"]) for row in rows] == [
        (GATE_LABEL, GATE, "Brandenburg Gate"),
        ("Eiffel", EIFFEL, "La Tour"),
        ("Mill", "mill", "Mill"),
    ]
    assert sorted(made) == [
        f"test/{GATE_LABEL}/wrong.jpg",
        "test/Mill/21.jpg",
        *(f"train/Eiffel/{number}.jpg" for number in range(10, 14)),
        "train/Eiffel/known.jpg",
        "train/Mill/20.jpg",
        "unknown/b.jpg",
    ]
    assert tree(earlier) == before


def test_a_rejected_photo_leaves_the_label_it_was_under(data: Typed, people: People, tmp_path: Path) -> None:
    judge(people)
    earlier = tmp_path / "earlier"
    draw_scene(earlier / "train" / "Mill" / "20.jpg", 20)
    (earlier / "train" / "Gate").mkdir()
    shutil.copy(people.folder / "b.jpg", earlier / "train" / "Gate" / "b.jpg")
    (earlier / "landmarks.csv").write_text("label,slug\nGate,brandenburg-gate\n")
    done = data("from-verdicts", "--with", earlier, "--out", tmp_path / "set", "--json").json

    assert (done["relabelled"], done["ordinary"]) == (1, 1)
    assert "unknown/b.jpg" in tree(tmp_path / "set")
    assert "train/Gate/b.jpg" not in tree(tmp_path / "set")


def test_a_dry_run_writes_nothing_and_nothing_is_written_over(
    data: Typed, people: People, tmp_path: Path
) -> None:
    judge(people)
    planned = data("from-verdicts", "--out", tmp_path / "set", "--dry-run", "--json").json
    assert not (tmp_path / "set").exists()
    assert data("from-verdicts", "--out", tmp_path / "set", "--json").json == planned | {"dry_run": False}
    said = data("from-verdicts", "--out", tmp_path / "set")
    assert said.code == 1
    assert "There is something in" in said.err


def test_without_words_there_is_nothing_to_learn_and_it_says_how_to_begin(
    data: Typed, people: People, tmp_path: Path
) -> None:
    people.photo("a.jpg", 1, (EIFFEL, 0.9, True))
    said = data("from-verdicts", "--out", tmp_path / "set")
    assert (said.code, said.text) == (1, "")
    assert "nobody has confirmed or rejected anything" in said.err
    assert "tagger confirm PHOTO LANDMARK" in said.err
    assert data("from-verdicts").code == 2


def test_more_pictures_than_a_page_are_all_found(data: Typed, people: People, tmp_path: Path) -> None:
    for number in range(260):
        path = people.folder / f"{number}.jpg"
        draw_scene(path, number, (16, 16))
        digest = digest_photo(path.read_bytes())
        people.known.photo(path.name, digest=digest)
        people.known.verdict(digest, EIFFEL if number % 2 else GATE, "confirmed")
    done = data("from-verdicts", "--out", tmp_path / "set", "--json").json
    assert done["by_label"] == {EIFFEL_LABEL: 130, GATE_LABEL: 130}
