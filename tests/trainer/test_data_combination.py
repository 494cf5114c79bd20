"""`trainer data combine`: labels, other landmarks, exclusions, and no training with test photos."""

import csv
from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.scenes import draw_label, draw_scene, tree

GAZETTEER = """label,slug,name,country
00.Arch,arch,The Arch,France
01.Bridge,bridge,The Bridge,Italy
new-tower,new-tower,New Tower,Spain
missing,missing,Missing Gate,Peru
"""


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    """main/{train,test} with two labels, more/ with one, places/ with a new landmark and two others."""
    main, more, places = (tmp_path / name for name in ("main", "more", "places"))
    draw_label(main / "train" / "00.Arch", range(6))
    draw_label(main / "test" / "00.Arch", range(100, 102))
    draw_label(main / "train" / "01.Bridge", range(200, 206))
    draw_label(main / "test" / "01.Bridge", range(300, 302))
    draw_label(more / "arch", range(400, 403))
    draw_label(places / "new-tower", range(500, 510))
    draw_label(places / "old-castle", range(600, 602))
    draw_label(places / "ruin", range(700, 703))
    (tmp_path / "landmarks.csv").write_text(GAZETTEER)
    return tmp_path


def combine(trainer: CommandRunner, folder: Path, *options: object) -> tuple[dict[str, object], str]:
    done = trainer(
        *("data", "combine", folder / "main", folder / "more", folder / "places"),
        *("--landmarks", folder / "landmarks.csv", "--out", folder / "out", "--json", *options),
    )
    assert done.code == 0, done.err
    return done.json, done.err


def photos(folder: Path) -> dict[str, int]:
    """The number of photos in each folder of the result."""
    folders = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    return {name: len(list((folder / name).iterdir())) for name in sorted(folders)}


def test_folders_become_labels_by_label_or_slug_and_all_others_other_landmarks(
    collections: Path, trainer: CommandRunner
) -> None:
    before = tree(collections)
    document, log = combine(trainer, collections)
    assert photos(collections / "out") == {
        "others/old-castle": 2,
        "others/ruin": 3,
        "test/00.Arch": 2,
        "test/01.Bridge": 2,
        "test/new-tower": 2,
        "train/00.Arch": 9,
        "train/01.Bridge": 6,
        "train/new-tower": 8,
    }
    counts = ("labels", "train", "test", "others", "other_landmarks")
    assert [document[name] for name in counts] == [3, 23, 6, 5, 2]
    assert "landmarks without a photo for training: missing" in log
    listed = (collections / "out" / "landmarks.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in listed] == ["label", "00.Arch", "01.Bridge", "new-tower"]
    assert {name: data for name, data in tree(collections).items() if not name.startswith("out/")} == before


def test_photos_like_those_for_testing_are_left_out_of_training(
    collections: Path, trainer: CommandRunner
) -> None:
    draw_scene(collections / "more" / "arch" / "smaller.jpg", 100, (80, 60))
    draw_scene(collections / "places" / "ruin" / "recompressed.jpg", 301, quality=60)
    draw_scene(collections / "places" / "ruin" / "copy.jpg", 700)
    document, _ = combine(trainer, collections)
    assert document["left_out"] == {"a copy": 1, "like a photo for testing": 2}
    assert photos(collections / "out")["others/ruin"] == 3


def test_excluded_photos_are_left_out_with_their_reason_except_those_for_testing(
    collections: Path, trainer: CommandRunner
) -> None:
    exclusions = collections / "excluded.csv"
    exclusions.write_text(
        "photo,reason\n00.Arch/0.jpg,all black\n00.Arch/100.jpg,all black\nruin/,part of the arch\n"
    )
    document, log = combine(trainer, collections, "--exclude", exclusions)
    assert document["left_out"] == {"all black": 1, "part of the arch": 3}
    assert "3 photos left out: part of the arch" in log
    counts = photos(collections / "out")
    assert (counts["train/00.Arch"], counts["test/00.Arch"]) == (8, 2)
    assert "others/ruin" not in counts


def test_sources_are_listed_and_by_default_those_are_the_collections(
    collections: Path, trainer: CommandRunner
) -> None:
    sources = collections / "where.csv"
    sources.write_text("photo,source\n00.Arch/0.jpg,site-a\nruin/,site-b\narch/400.jpg,site-c\n")
    combine(trainer, collections, "--sources", sources)
    with (collections / "out" / "sources.csv").open(encoding="utf-8", newline="") as file:
        listed = {row["photo"]: row["source"] for row in csv.DictReader(file)}
    paths = (collections / "out").rglob("*.jpg")
    assert listed.keys() == {f"{path.parent.name}/{path.name}" for path in paths}
    names = ("00.Arch/0.jpg", "00.Arch/1.jpg", "00.Arch/400.jpg", "00.Arch/401.jpg", "ruin/700.jpg")
    assert [listed[name] for name in names] == ["site-a", "main", "site-c", "more", "site-b"]


@pytest.mark.parametrize(
    "content", ["photo,reason\nArch,black\n", "photo\nArch/1.jpg\n", "photo,reason\n\xff"]
)
def test_a_list_that_is_no_list_of_photos_is_refused(
    collections: Path, trainer: CommandRunner, content: str
) -> None:
    exclusions = collections / "excluded.csv"
    exclusions.write_bytes(content.encode("latin-1"))
    done = trainer(
        *("data", "combine", collections / "main", "--landmarks", collections / "landmarks.csv"),
        *("--exclude", exclusions, "--out", collections / "out"),
    )
    assert done.code == 1
    assert "excluded.csv cannot be used" in done.err
    assert not (collections / "out").exists()
