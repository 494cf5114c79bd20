"""`trainer data from-verdicts`: a training folder from verdicts, with and without an earlier one."""

import csv
import shutil
from pathlib import Path

import pytest
from sqlalchemy import update
from support.artifacts import tiny_artifact
from support.databases import execute
from support.scenes import draw_scene, tree
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.tables import roots
from tagger.landmarks import find_landmark
from tagger.landmarks.edits import NewLandmark, add_landmark, merge_landmark
from tagger.photos.formats import digest_photo
from tagger.registry import add_model, use_models
from trainer.data import label_folders, labels_with_landmarks

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"
EIFFEL_LABEL, GATE_LABEL = "00.Eiffel_Tower", "01.Brandenburg_Gate"


class TaggedPhotos:
    """Photos on disk, with the tags of a model and people's verdicts."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder / "photos"
        tiny_artifact(folder / "tiny.pt")
        model = add_model(database, folder / "tiny.pt")
        use_models(database, [model.name])
        self.library = StoredPhotos(database, self.folder, model)

    def photo(self, name: str, seed: int, *tags: tuple[str, float, bool], **verdicts: str) -> Path:
        """A photo with the model's tags; `verdicts` are named by landmark, with underscores for hyphens."""
        path = draw_scene(self.folder / name, seed)
        digest = digest_photo(path.read_bytes())
        self.library.photo(name, *tags, digest=digest)
        for slug, verdict in verdicts.items():
            self.library.verdict(digest, slug.replace("_", "-"), verdict)
        return path


@pytest.fixture
def tagged_photos(database, database_url, tmp_path, monkeypatch) -> TaggedPhotos:
    monkeypatch.setenv("TAGGER_DATABASE_URL", database_url)
    monkeypatch.delenv("TAGGER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return TaggedPhotos(database, tmp_path)


def give_verdicts(tagged_photos: TaggedPhotos) -> None:
    tagged_photos.photo("a.jpg", 1, (EIFFEL, 0.9, True), eiffel_tower="confirmed")
    tagged_photos.photo(
        "deep/a.jpg", 2, (EIFFEL, 0.3, False), brandenburg_gate="confirmed", eiffel_tower="rejected"
    )
    tagged_photos.photo("b.jpg", 3, (GATE, 0.9, True), brandenburg_gate="rejected")
    tagged_photos.photo("c.jpg", 4, (GATE, 0.8, True))


def test_photos_in_buckets_are_downloaded(data, tagged_photos, bucket, tmp_path):
    tagged_photos.photo("trip/a.jpg", 1, (EIFFEL, 0.9, True), eiffel_tower="confirmed")
    tagged_photos.photo("b.jpg", 3, (GATE, 0.9, True), brandenburg_gate="rejected")
    before = tree(tagged_photos.folder)
    for name in before:
        bucket.put(name, tagged_photos.folder / name)
    execute(tagged_photos.library.database, update(roots).values(location=bucket.address))
    shutil.rmtree(tagged_photos.folder)
    with bucket.proxy.refusing():
        refused = data("from-verdicts", "--out", tmp_path / "set", code=1)
    assert "2 unavailable" in refused.err
    output = data("from-verdicts", "--out", tmp_path / "set", "--json")
    assert (output.code, output.json["confirmed"], output.json["left_out"]) == (0, 1, {}), output.err
    files = tree(tmp_path / "set")
    files.pop("landmarks.csv")
    assert files == {f"train/{EIFFEL_LABEL}/a.jpg": before["trip/a.jpg"], "unknown/b.jpg": before["b.jpg"]}


@pytest.mark.postgresql
def test_confirmed_photos_are_labelled_and_rejected_ones_ordinary(data, tagged_photos, tmp_path):
    give_verdicts(tagged_photos)
    before = tree(tagged_photos.folder)
    output = data("from-verdicts", "--out", tmp_path / "set", "--json", code=0)

    assert (output.json["confirmed"], output.json["ordinary"], output.json["left_out"]) == (2, 1, {})
    assert output.json["by_label"] == {EIFFEL_LABEL: 1, GATE_LABEL: 1}
    files = tree(tmp_path / "set")
    files.pop("landmarks.csv")
    assert files == {
        f"train/{EIFFEL_LABEL}/a.jpg": before["a.jpg"],
        f"train/{GATE_LABEL}/a.jpg": before["deep/a.jpg"],
        "unknown/b.jpg": before["b.jpg"],
    }
    assert tree(tagged_photos.folder) == before
    assert [entry.name for entry in label_folders(tmp_path / "set" / "train")] == [EIFFEL_LABEL, GATE_LABEL]
    eiffel, gate = labels_with_landmarks([EIFFEL_LABEL, GATE_LABEL], tmp_path / "set")
    assert (eiffel.slug, eiffel.city, eiffel.latitude, eiffel.extent) == (EIFFEL, "Paris", 48.8584, "point")
    assert gate.slug == GATE


def test_unusable_photos_are_left_out_and_counted(data, tagged_photos, tmp_path):
    give_verdicts(tagged_photos)
    twice = tagged_photos.photo("twice.jpg", 5, eiffel_tower="confirmed", brandenburg_gate="confirmed")
    tagged_photos.photo("half.jpg", 6, (EIFFEL, 0.6, True), (GATE, 0.5, True), eiffel_tower="rejected")
    tagged_photos.photo("deleted.jpg", 7, eiffel_tower="confirmed").unlink()
    tagged_photos.photo("forgotten.jpg", 8, eiffel_tower="confirmed")
    tagged_photos.library.gone("forgotten.jpg")
    draw_scene(tagged_photos.photo("edited.jpg", 9, eiffel_tower="confirmed"), 99)
    output = data("from-verdicts", "--out", tmp_path / "set", "--json", code=0)

    assert output.json["left_out"] == {"several-confirmed": 1, "still-tagged": 1, "gone": 2, "changed": 1}
    assert output.json["several_confirmed"] == [str(twice)]
    assert output.json["confirmed"] == 2
    for text in (
        "several landmarks are confirmed",
        "twice.jpg",
        "no longer exists",
        "now shows something else",
    ):
        assert text in output.err


def test_a_picture_is_taken_once_from_whichever_copy_is_there(data, tagged_photos, tmp_path):
    give_verdicts(tagged_photos)
    shutil.copy(tagged_photos.folder / "a.jpg", tagged_photos.folder / "copy.jpg")
    tagged_photos.library.photo(
        "copy.jpg", digest=digest_photo((tagged_photos.folder / "copy.jpg").read_bytes())
    )
    (tagged_photos.folder / "a.jpg").unlink()
    assert data("from-verdicts", "--out", tmp_path / "set").code == 0
    assert [path.name for path in (tmp_path / "set" / "train" / EIFFEL_LABEL).iterdir()] == ["copy.jpg"]


def test_an_earlier_folder_is_copied_with_verdicts_applied(data, tagged_photos, tmp_path):
    give_verdicts(tagged_photos)
    earlier = tmp_path / "earlier"
    for number in range(10, 14):
        draw_scene(earlier / "train" / "Eiffel" / f"{number}.jpg", number)
    draw_scene(earlier / "train" / "Mill" / "20.jpg", 20)
    draw_scene(earlier / "test" / "Mill" / "21.jpg", 21)
    shutil.copy(tagged_photos.folder / "a.jpg", earlier / "train" / "Eiffel" / "known.jpg")
    shutil.copy(tagged_photos.folder / "deep" / "a.jpg", earlier / "test" / "Mill" / "wrong.jpg")
    (earlier / "train" / "Gate").mkdir()
    shutil.copy(tagged_photos.folder / "b.jpg", earlier / "train" / "Gate" / "rejected.jpg")
    (earlier / "train" / "Mill" / "broken.jpg").touch()
    (earlier / "landmarks.csv").write_text(
        "label,slug,name\nEiffel,eiffel-tower,La Tour\nGate,brandenburg-gate,\n", encoding="utf-8"
    )
    before = tree(earlier)
    output = data("from-verdicts", "--with", earlier, "--out", tmp_path / "set", "--json", code=0)

    expected = {"confirmed": 0, "ordinary": 1, "earlier": 8, "known_already": 1, "relabelled": 2}
    assert {name: output.json[name] for name in expected} == expected
    assert "1 earlier photos cannot be read and are skipped: train/Mill/broken.jpg" in output.err
    files = tree(tmp_path / "set")
    rows = list(csv.DictReader(files.pop("landmarks.csv").decode().splitlines()))
    assert [(row["label"], row["slug"], row["name"]) for row in rows] == [
        ("Eiffel", EIFFEL, "La Tour"),
        ("Gate", GATE, "Gate"),
        ("Mill", "mill", "Mill"),
    ]
    assert sorted(files) == [
        "test/Gate/wrong.jpg",
        "test/Mill/21.jpg",
        *(f"train/Eiffel/{number}.jpg" for number in range(10, 14)),
        "train/Eiffel/known.jpg",
        "train/Mill/20.jpg",
        "unknown/rejected.jpg",
    ]
    assert tree(earlier) == before


def test_photos_like_earlier_ones_for_testing_are_left_out_and_sources_are_kept(
    data, tagged_photos, tmp_path
):
    give_verdicts(tagged_photos)
    earlier = tmp_path / "earlier"
    draw_scene(earlier / "train" / "Mill" / "20.jpg", 20)
    draw_scene(earlier / "train" / "Mill" / "copy.jpg", 21)
    draw_scene(earlier / "test" / "Mill" / "21.jpg", 21)
    draw_scene(earlier / "test" / "Eiffel" / "recompressed.jpg", 1, quality=60)
    (earlier / "landmarks.csv").write_text("label,slug\nEiffel,eiffel-tower\nMill,mill\n")
    (earlier / "sources.csv").write_text("photo,source\nMill/20.jpg,site-a\n")
    output = data("from-verdicts", "--with", earlier, "--out", tmp_path / "set", "--json")
    assert output.json["left_out"] == {"a copy": 1, "like a photo for testing": 1}
    assert (output.json["confirmed"], output.json["earlier"]) == (1, 3)
    assert {path for path in tree(tmp_path / "set") if path.endswith(".jpg")} == {
        "test/Eiffel/recompressed.jpg",
        "test/Mill/21.jpg",
        f"train/{GATE_LABEL}/a.jpg",
        "train/Mill/20.jpg",
        "unknown/b.jpg",
    }
    assert (tmp_path / "set" / "sources.csv").read_text() == "photo,source\nMill/20.jpg,site-a\n"


def test_a_dry_run_writes_nothing_and_nothing_is_written_over(data, tagged_photos, tmp_path):
    give_verdicts(tagged_photos)
    planned = data("from-verdicts", "--out", tmp_path / "set", "--dry-run", "--json").json
    assert not (tmp_path / "set").exists()
    assert data("from-verdicts", "--out", tmp_path / "set", "--json").json == planned | {"dry_run": False}
    output = data("from-verdicts", "--out", tmp_path / "set", code=1)
    assert "is not empty" in output.err


def test_without_verdicts_the_command_says_how_to_start(data, tagged_photos, tmp_path):
    tagged_photos.photo("a.jpg", 1, (EIFFEL, 0.9, True))
    output = data("from-verdicts", "--out", tmp_path / "set")
    assert (output.code, output.text) == (1, "")
    assert "no tag has been confirmed or rejected" in output.err
    assert "tagger confirm LANDMARK PHOTO" in output.err
    assert data("from-verdicts").code == 2


def test_a_merged_landmark_keeps_the_folder_of_its_label(data, tagged_photos, tmp_path):
    give_verdicts(tagged_photos)
    assert data("from-verdicts", "--out", tmp_path / "earlier", "--json").code == 0
    add_landmark(tagged_photos.library.database, NewLandmark("Iron Lady"))
    merge_landmark(tagged_photos.library.database, EIFFEL, "iron-lady")
    with tagged_photos.library.database.read() as connection:
        tagged_photos.library.landmark_ids["iron-lady"] = find_landmark(connection, EIFFEL).id
    tagged_photos.photo("new.jpg", 10, iron_lady="confirmed")
    for options in ((), ("--with", tmp_path / "earlier")):
        data("from-verdicts", "--out", tmp_path / f"set-{len(options)}", *options, "--json", code=0)
        assert (tmp_path / f"set-{len(options)}" / "train" / EIFFEL_LABEL / "new.jpg").is_file()
