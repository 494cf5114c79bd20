"""Photos are downloaded, split without near duplicates across splits, and copied with a record."""

import json
import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from rig.drawing import draw_photo
from support.examples import examples
from support.local_servers import Quiet, running
from support.scenes import course_archive, draw_label, draw_scene, scene, scene_bytes, tree, zip_of

from trainer import DataUnusable
from trainer.data import Sketch, group_near_duplicates, labels_with_landmarks, sketch_of
from trainer.data.sources import fetch_udacity, photo_entries
from trainer.data.split import assign_splits

SHARES = {"test": 0.2, "val": 0.2}

EXAMPLES = examples(10)

# Groups of photos that stay together; each is a list of the photos' labels.
groupings = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), min_size=1, max_size=40)


@EXAMPLES
@given(groupings, st.integers(0, 3), st.floats(0, 0.45), st.floats(0, 0.45))
def test_groups_stay_together_and_every_label_keeps_a_photo(grouping, seed, val, test):
    labels, groups, digests = flattened(grouping)
    splits = assign_splits(labels, groups, digests, {"test": test, "val": val}, seed=seed)

    splits_by_group: dict[int, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        splits_by_group[group].add(split)
    assert all(len(splits_of_group) == 1 for splits_of_group in splits_by_group.values())
    training_labels = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    assert training_labels == set(labels)


@EXAMPLES
@given(st.integers(1, 200), st.integers(0, 3))
def test_shares_are_exact_where_no_photos_belong_together(count, seed):
    labels, groups, digests = flattened([["a"]] * count)
    counts = Counter(assign_splits(labels, groups, digests, SHARES, seed=seed))

    expected = int(0.2 * count + 0.5)
    if 2 * expected < count:
        assert (counts["test"], counts["val"]) == (expected, expected)
    assert counts["train"] >= 1


@EXAMPLES
@given(groupings, st.randoms(use_true_random=False))
def test_the_order_of_photos_and_the_names_of_groups_do_not_matter(grouping, rng):
    labels, groups, digests = flattened(grouping)
    splits = assign_splits(labels, groups, digests, SHARES, seed=7)
    order = list(range(len(labels)))
    rng.shuffle(order)
    shuffled = assign_splits(
        [labels[number] for number in order],
        [-groups[number] for number in order],
        [digests[number] for number in order],
        SHARES,
        seed=7,
    )

    assert shuffled == [splits[number] for number in order]


def test_a_label_of_large_scenes_gives_its_smallest():
    labels, groups, digests = flattened([["a"] * 6, ["a"] * 3, ["a"] * 4])
    splits = assign_splits(labels, groups, digests, SHARES, seed=0)

    assert Counter(splits) == {"test": 3, "val": 4, "train": 6}
    assert assign_splits(["a"] * 5, [1] * 5, list("vwxyz"), SHARES, seed=0) == ["train"] * 5


def flattened(grouping: list[list[str]]) -> tuple[list[str], list[int], list[str]]:
    labels = [label for group in grouping for label in group]
    groups = [number for number, group in enumerate(grouping) for _ in group]
    return labels, groups, [f"digest-{number}" for number in range(len(labels))]


@pytest.fixture
def photos(tmp_path) -> Path:
    """20 towers, of which two show one scene; 10 bridges; a hill and its near-duplicate; a broken one."""
    folder = tmp_path / "photos"
    draw_label(folder / "Tower" / "2019", range(19))
    draw_scene(folder / "Tower" / "again.jpg", 5, (160, 120))
    draw_label(folder / "Bridge", range(100, 110))
    draw_scene(folder / "Hill" / "a.jpg", 300)
    draw_scene(folder / "Hill" / "b.jpg", 300, (200, 150))
    (folder / "Bridge" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "landmarks.csv").write_text("label,slug\nTower,the-tower\n")
    return folder


def test_photos_are_copied_into_the_splits_with_a_record(data, photos, tmp_path):
    before = tree(photos)
    output = data("split", photos, "--out", tmp_path / "set", "--json", code=0)

    assert tree(photos) == before
    done = output.json
    assert done["by_label"] == {
        "Bridge": {"train": 6, "val": 2, "test": 2},
        "Hill": {"train": 2, "val": 0, "test": 0},
        "Tower": {"train": 12, "val": 4, "test": 4},
    }
    assert done["without"] == {"val": ["Hill"], "test": ["Hill"]}
    assert "too few scenes for a photo in val/: Hill" in output.err
    assert [each["path"] for each in done["left_out"]] == ["Bridge/broken.jpg"]
    assert "1 photos cannot be read" in output.err
    files = tree(tmp_path / "set")
    assert files.pop("landmarks.csv") == before["landmarks.csv"]
    record = json.loads(files.pop("split.json"))
    assert (record["seed"], record["shares"]) == (0, {"val": 0.2, "test": 0.2})
    assert Counter(record["photos"].values()) == Counter(path.split("/")[0] for path in files)
    assert sorted(files.values()) == sorted(
        content for path, content in before.items() if path not in {"Bridge/broken.jpg", "landmarks.csv"}
    )
    split_of_name = {path.split("/")[-1]: path.split("/")[0] for path in files if "/Tower/" in path}
    assert split_of_name["5.jpg"] == split_of_name["again.jpg"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_splits_that_are_there_are_pooled(data, photos, tmp_path):
    data("split", photos, "--out", tmp_path / "one")
    output = data("split", tmp_path / "one", "--out", tmp_path / "two", "--val", 0, "--test", 0.5)

    assert "the existing splits (train, val, test) are pooled" in output.err
    assert not (tmp_path / "two" / "val").exists()
    assert "test\t15\n" in output.text


def test_photos_of_one_name_are_all_kept(data, tmp_path):
    for number in range(6):
        draw_scene(tmp_path / "photos" / "A" / f"{number}" / ("IMG.jpg" if number % 2 else "img.JPG"), number)
    shutil.copytree(tmp_path / "photos" / "A" / "1", tmp_path / "photos" / "A" / "copy")
    data("split", tmp_path / "photos", "--out", tmp_path / "set", "--val", 0, "--test", 0, code=0)
    names = [path.name for path in (tmp_path / "set" / "train" / "A").iterdir()]
    assert len({name.casefold() for name in names}) == 7


def test_nothing_is_written_over_among_the_photos_or_without_a_photo(data, photos, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    output = data("split", photos, "--out", tmp_path / "full")
    assert (output.code, output.text) == (1, "")
    assert "is not empty" in output.err
    assert tree(tmp_path / "full") == {"mine.txt": b"mine"}
    output = data("split", photos, "--out", photos / "set")
    assert "which is never written to" in output.err
    assert data("split", photos, "--out", tmp_path / "x", "--val", 0.6, "--test", 0.4).code == 2
    assert data("split", photos).code == 2
    (tmp_path / "none" / "A").mkdir(parents=True)
    (tmp_path / "none" / "A" / "a.jpg").write_text("no photo")
    output = data("split", tmp_path / "none", "--out", tmp_path / "set", code=1)
    assert "none of its photos can be read" in output.err


def test_near_hashes_are_those_of_the_same_scene():
    photo = draw_photo(1, (300, 300))
    brighter = photo.point(lambda value: min(255, value + 12)).resize((256, 256)).resize((300, 300))
    images = (photo, brighter, draw_photo(2, (300, 300)))
    hashes = [sketch_of(np.asarray(image)).difference_hash for image in images]

    assert (hashes[0] ^ hashes[1]).bit_count() <= 6
    assert (hashes[0] ^ hashes[2]).bit_count() > 10
    one, other, again = _sketch(scene(1)), _sketch(scene(2)), _sketch(scene(1, (200, 150)))
    near = replace(other, difference_hash=one.difference_hash ^ 0b1011)

    assert group_near_duplicates([one, near, again]) == [0, 1, 0]
    assert group_near_duplicates([]) == []
    black, white = (_sketch(Image.new("RGB", (64, 64), colour)) for colour in ("black", "white"))

    assert black.is_blank
    assert white.is_blank
    assert not _sketch(scene(1)).is_blank
    assert group_near_duplicates([black, white]) == [0, 0]


def test_groups_of_many_photos_are_those_that_comparing_one_by_one_gives():
    generator = np.random.default_rng(0)
    hashes = [int(number) for number in generator.integers(0, 2**63, 5000)]
    for position in range(0, 5000, 7):
        hashes[position] = hashes[(position * 31) % 5000] ^ (1 << position % 64)
    thumbnail = _sketch(scene(1)).thumbnail
    groups = group_near_duplicates([Sketch(number, thumbnail) for number in hashes])

    array = np.array(hashes, dtype=np.uint64)
    for position in range(5000):
        near = np.flatnonzero(np.bitwise_count(array ^ array[position]) <= 10)
        assert {groups[other] for other in near} == {groups[position]}
    assert 3000 < len(set(groups)) < 5000


def _sketch(image: Image.Image) -> Sketch:
    return sketch_of(np.asarray(image.resize((64, 64))))


PHOTO = scene_bytes(1)


@dataclass
class FileServer:
    """The file on the server, and how it answers. `cut`: the bytes after which connections end."""

    content: bytes
    cut: int | None = None
    status: int = 200
    url: str = ""
    requests: int = 0


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    file = FileServer(content)

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file.requests += 1
            self.send_response(file.status)
            self.send_header("Content-Length", str(len(file.content)))
            self.end_headers()
            self.wfile.write(file.content[: file.cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    file.url = f"http://127.0.0.1:{server.server_port}/landmark_images.zip"
    with running(server):
        yield file


def assert_refused(folder: Path, url: str, reason: str) -> None:
    with pytest.raises(DataUnusable, match=rf"{reason}.*Run the same command again"):
        fetch_udacity(folder / "set", url)
    assert list(folder.iterdir()) == []


def test_a_cut_connection_or_no_server_leaves_nothing_and_the_command_can_be_repeated(tmp_path):
    with serving(course_archive()) as server:
        server.cut = 3000
        assert_refused(tmp_path, server.url, "not a zip file|IncompleteRead")
        server.status = 404
        assert_refused(tmp_path, server.url, "404")
    assert_refused(tmp_path, server.url, "refused")
    with serving(course_archive()) as server:
        assert fetch_udacity(tmp_path / "set", server.url)


def test_the_archive_is_fetched_and_laid_out_once(data, tmp_path):
    with serving(course_archive()) as server:
        arguments = ("download", "udacity", "--out", tmp_path / "set", "--url", server.url)
        output = data(*arguments, "--json", code=0)
        assert {name: output.json[name] for name in ("train", "test", "labels", "fetched")} == {
            "train": 4,
            "test": 2,
            "labels": 2,
            "fetched": True,
        }
        again = data(*arguments, code=0)
        assert "the folder is already complete; nothing was downloaded" in again.err
        assert "fetched\tFalse\n" in again.text
        assert server.requests == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    files = tree(tmp_path / "set")
    assert "train/16.Eiffel_Tower/0.jpg" in files
    assert not [path for path in files if "MACOSX" in path or "DS_Store" in path]
    assert json.loads(files["source.json"])["size_bytes"] == len(course_archive())
    eiffel, raceway = labels_with_landmarks(["16.Eiffel_Tower", "22.Moscow_Raceway"], tmp_path / "set")
    assert (eiffel.slug, eiffel.country, raceway.slug) == ("eiffel-tower", "France", "moscow-raceway")


def test_a_folder_with_something_in_it_is_left_alone(data, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.jpg").touch()
    output = data("download", "udacity", "--out", tmp_path / "set", "--url", "http://127.0.0.1:9/x.zip")
    assert output.code == 1
    assert "is not empty" in output.err
    assert data("download", "everything", "--out", tmp_path / "x").code == 2


def unpack(folder: Path, content: bytes) -> dict[str, bytes]:
    """What an archive becomes, without the files that the command adds."""
    with serving(content) as server:
        fetch_udacity(folder / "set", server.url)
    assert [path.name for path in folder.iterdir()] == ["set"]
    return {
        path: data for path, data in tree(folder / "set").items() if path.endswith((".jpg", ".JPG", ".png"))
    }


def test_only_photos_come_out_below_the_one_folder_that_holds_all(tmp_path):
    names = [
        "top/train/A/a.JPG", "top/test/A/b.png", "top/train/A/run.sh", "top/train/.hidden/c.jpg",
        "__MACOSX/train/A/._a.JPG", "../evil.jpg", "/etc/evil.jpg", "train\\A\\evil.jpg",
    ]  # fmt: skip
    assert sorted(unpack(tmp_path, zip_of(dict.fromkeys(names, PHOTO)))) == ["test/A/b.png", "train/A/a.JPG"]


def damaged() -> bytes:
    content = bytearray(course_archive())
    content[len(content) // 3] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (course_archive(top="photos", train="learn"), "it has no train/LABEL/photo.jpg"),
        (damaged(), "."),
        (b"", "not a zip file"),
    ],
    ids=["something else", "damaged", "empty"],
)
def test_an_archive_that_cannot_be_used_leaves_nothing(tmp_path, content, reason):
    with serving(content) as server:
        assert_refused(tmp_path, server.url, reason)


names = st.text(st.sampled_from("aA/.\\:~ \0\n\x7fé💥_-"), min_size=1, max_size=12).map(
    lambda text: text + ".jpg"
)


@examples(38)
@given(st.lists(names, max_size=4))
def test_no_name_leads_out_of_the_folder(listed):
    folder = PurePosixPath("/somewhere/out")
    for path in photo_entries([zipfile.ZipInfo(f"train/{name}") for name in ["A/a.jpg", *listed]]):
        target = folder / path
        assert target.is_relative_to(folder)
        assert ".." not in target.parts
        assert not set(path) & set("\\:\0\n\x7f")
