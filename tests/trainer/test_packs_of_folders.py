"""`trainer pack`: folders of photos by landmark become a pack, with figures on held-out photos."""

import json
from pathlib import Path

import pytest
from support.teaching import draw_place, teachable_artifact
from support.trainer_commands import run_trainer

from tagger.library.teaching.pack_file import read_pack

NOISE = 0.2
OPTIONS = ("--author", "Ada", "--device", "cpu", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a church and a bridge, a bad and two good ones of a tower, and photos of anything else."""
    folder = tmp_path_factory.mktemp("places")
    teachable_artifact(folder / "model.pt")
    for place, (name, count) in enumerate({"church": 9, "old bridge": 6, "tower": 2}.items()):
        for seed in range(count):
            draw_place(folder / "photos" / name / f"{seed}.jpg", place, seed=seed, noise=NOISE)
    (folder / "photos" / "tower" / "bad.jpg").write_bytes(b"\xff\xd8\xff no photo")
    for place in range(10, 40):
        draw_place(folder / "others" / f"{place}.jpg", place, noise=NOISE)
    (folder / "photos" / "landmarks.csv").write_text(
        "label,slug,name,country,latitude,longitude,extent\nchurch,our-church,Our church,Germany,51.05,13.74,point\n"
    )
    return folder


def test_folders_become_a_pack_with_figures_on_held_out_photos(folder: Path) -> None:
    places = ("--model", folder / "model.pt", "--others", folder / "others", "--out", folder / "town.pack")
    done = run_trainer("pack", folder / "photos", *places, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "left out: tower (fewer than 6 different photos)" in done.stderr
    document = json.loads(done.stdout)
    counts = {"landmarks": 2, "held_out": 15, "found": 15, "tags": 15, "others": 32, "false_others": 0}
    assert {name: document[name] for name in counts} == counts
    manifest = read_pack(folder / "town.pack").manifest
    church, bridge = manifest.landmarks
    assert (manifest.name, manifest.author) == ("town", "Ada")
    assert (church.slug, church.name, church.country, church.latitude) == (
        "our-church",
        "Our church",
        "Germany",
        51.05,
    )
    assert (church.examples, church.precision, church.recall, church.held_out) == (9, 1.0, 1.0, 9)
    assert (bridge.slug, bridge.examples) == ("old-bridge", 6)


def test_a_pack_needs_a_landmark_with_enough_photos(folder: Path) -> None:
    places = ("--model", folder / "model.pt", "--out", folder / "none.pack")
    done = run_trainer("pack", folder / "others", *places)
    assert done.returncode == 1
    assert done.stderr.endswith("from two photos or more.\n")
    assert not (folder / "none.pack").exists()
