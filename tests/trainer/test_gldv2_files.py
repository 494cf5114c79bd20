"""The published files of Google Landmarks v2: lists, and archives that are whole, damaged, cut short or hostile."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from support.landmarks_dataset import photo_id, write_archive, write_checksum, write_lists

from trainer.errors import DataFileInvalid
from trainer.gldv2.published_files import (
    ArchiveDamaged,
    read_archive,
    read_labels,
    read_names,
    read_solution,
)

IDS = [photo_id(number) for number in range(12)]
PHOTOS = {each: os.urandom(4000) for each in IDS}


def read_all(archive: Path) -> dict[str, bytes]:
    return {each.decode(): content for each, content in read_archive(archive, lambda _id: True)}


def assert_damaged(archive: Path, reason: str) -> None:
    with pytest.raises(ArchiveDamaged, match=reason):
        read_all(archive)


def test_the_cleaned_list_comes_before_the_full_one(tmp_path: Path) -> None:
    write_lists(tmp_path, {7: IDS[:5], 3: IDS[5:10]}, {})
    clean = read_labels(tmp_path)
    assert clean.ids.tolist() == sorted(each.encode() for each in IDS[:10])
    assert clean.landmarks_of(clean.ids[:0].astype("S16")).size == 0
    assert [clean.landmark_ids[clean.ids == each.encode()].item() for each in IDS[:10]] == [7] * 5 + [3] * 5
    assert (clean.has(IDS[9].encode()), clean.has(IDS[10].encode())) == (True, False)

    full = (tmp_path / "train.csv").read_text() + f'{IDS[10]},"https://example.org/x,y.jpg",8\n'
    (tmp_path / "train.csv").write_text(full)
    (tmp_path / "train_clean.csv").unlink()
    assert read_labels(tmp_path).has(IDS[10].encode())
    assert read_labels(tmp_path).digest != clean.digest


def test_a_landmark_may_have_more_photos_than_a_cell_of_csv_usually_holds(tmp_path: Path) -> None:
    ids = [photo_id(number) for number in range(9000)]
    write_lists(tmp_path, {1: ids}, {})
    assert len(read_labels(tmp_path).ids) == 9000


def test_names_are_those_of_the_categories(tmp_path: Path) -> None:
    write_lists(tmp_path, {}, {5: "Ch%C3%A2teau de Chillon", 6: "Kölner Dom, Westfassade"})
    assert read_names(tmp_path) == {5: "Château de Chillon", 6: "Kölner Dom, Westfassade"}


def test_the_solution_has_photos_of_several_landmarks_and_of_none(tmp_path: Path) -> None:
    text = f"id,landmarks,Usage\n{IDS[0]},,Private\n{IDS[1]},14 2,Public\n{IDS[2]},3,Ignored\n"
    (tmp_path / "solution.csv").write_text(text)
    assert read_solution(tmp_path / "solution.csv") == {
        "Public": {IDS[1]: frozenset({14, 2})},
        "Private": {IDS[0]: frozenset()},
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"landmark,images\n1,0123456789abcdef\n", "row 2 is damaged"),
        (b"landmark_id,images\n1,0123456789abcde\n", "16 characters"),
        (b"landmark_id,images\n99999999999,0123456789abcdef\n", "row 2 is damaged"),
        (b'landmark_id,images\n1,"0123', "not a CSV file"),
        (b"\xff\xfe\x00", "not a CSV file"),
    ],
)
def test_a_damaged_list_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "train_clean.csv").write_bytes(content)
    with pytest.raises(DataFileInvalid, match=reason):
        read_labels(tmp_path)


@pytest.mark.parametrize("position", [0, 300, 700, 20_000, -3000, -1])
def test_a_changed_byte_is_noticed_at_the_end_at_the_latest(tmp_path: Path, position: int) -> None:
    archive = write_archive(tmp_path / "images_000.tar", PHOTOS)
    content = bytearray(archive.read_bytes())
    content[position] ^= 0x55
    archive.write_bytes(content)
    assert_damaged(archive, "MD5|damaged")


@pytest.mark.parametrize("size", [0, 100, 512, 5000, 30_000])
def test_an_archive_that_is_cut_short_is_damaged(tmp_path: Path, size: int) -> None:
    archive = write_archive(tmp_path / "images_000.tar", PHOTOS)
    archive.write_bytes(archive.read_bytes()[:size])
    assert_damaged(archive, "MD5|damaged")


@pytest.mark.parametrize("checksum", [None, b"", b"<html>", b"\xff"])
def test_an_archive_without_its_checksum_is_left_out(tmp_path: Path, checksum: bytes | None) -> None:
    archive = write_archive(tmp_path / "images_000.tar", PHOTOS)
    (tmp_path / "md5.images_000.txt").unlink()
    if checksum is not None:
        (tmp_path / "md5.images_000.txt").write_bytes(checksum)
    assert_damaged(archive, r"md5\.images_000\.txt")


def test_only_files_named_like_photos_come_out(tmp_path: Path) -> None:
    archive = tmp_path / "images_000.tar"
    good, other = IDS[0], IDS[1]
    names = [f"./{good[0]}/{good[1]}/{good[2]}/{good}.jpg"]
    names += ["../x.jpg", "/etc/passwd", f"0/0/0/{other}.jpg", f"{other}.jpg", "readme.txt"]
    with tarfile.open(archive, "w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"text"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            link = tarfile.TarInfo(f"{other[0]}/{other[1]}/{other[2]}/{other}.jpg")
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
    write_checksum(archive)
    assert read_all(archive) == {good: b"text"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images_000.tar", "md5.images_000.txt"]
