"""Untrusted archives: extracted files, skipped files, and archives refused as a whole."""

import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.archives import course_archive, zip_of
from support.examples import examples
from support.scenes import scene_bytes, tree

from trainer.data import udacity
from trainer.data.udacity import ArchiveUnsound, photo_entries, unpack_photos

PHOTO = scene_bytes(1)


def unpack(tmp_path: Path, content: bytes) -> dict[str, bytes]:
    (tmp_path / "archive.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    unpack_photos(tmp_path / "archive.zip", tmp_path / "out")
    return tree(tmp_path / "out")


def assert_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ArchiveUnsound, match=reason):
        unpack(tmp_path, content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip", "out"]


def test_photos_come_out_below_the_one_folder_that_holds_all(tmp_path: Path) -> None:
    files = unpack(tmp_path, course_archive())
    assert sorted(files) == [
        "test/16.Eiffel_Tower/4.jpg",
        "test/21.Taj_Mahal/5.jpg",
        "train/16.Eiffel_Tower/0.jpg",
        "train/16.Eiffel_Tower/1.jpg",
        "train/21.Taj_Mahal/2.jpg",
        "train/21.Taj_Mahal/3.jpg",
    ]


def test_only_photos_come_out(tmp_path: Path) -> None:
    names = [
        "train/A/a.JPG",
        "train/A/b.png",
        "train/A/run.sh",
        "train/A/x.html",
        "train/.hidden/c.jpg",
        "__MACOSX/train/A/._a.JPG",
        "landmarks.csv",
        "../evil.jpg",
        "/etc/evil.jpg",
        "train\\A\\evil.jpg",
    ]
    assert sorted(unpack(tmp_path, zip_of(dict.fromkeys(names, PHOTO)))) == [
        "train/A/a.JPG",
        "train/A/b.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip", "out"]


def test_a_link_becomes_a_file_of_its_text(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("train/A/link.jpg")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert unpack(tmp_path, zip_of([(link, b"/etc/passwd")])) == {"train/A/link.jpg": b"/etc/passwd"}
    assert not (tmp_path / "out" / "train" / "A" / "link.jpg").is_symlink()


def test_more_bytes_than_is_reasonable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udacity, "MOST_BYTES", 1000)
    assert_refused(tmp_path, course_archive(), "would unpack to")


def test_a_false_size_extracts_no_more_than_declared(tmp_path: Path) -> None:
    content = zip_of({"train/A/a.jpg": bytes(range(200)) * 50})
    true, output = (10_000).to_bytes(4, "little"), (500).to_bytes(4, "little")
    assert_refused(tmp_path, content.replace(true, output), "the archive is damaged")
    assert sum(map(len, tree(tmp_path / "out").values())) <= 500


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_of({"train/A/a.jpg": PHOTO}))
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + flags] |= 1
    assert_refused(tmp_path, bytes(content), "is encrypted")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_part_of_an_archive_is_refused(tmp_path: Path, share: float) -> None:
    content = course_archive()
    assert_refused(tmp_path, content[: int(share * len(content))], "the archive is damaged")


@pytest.mark.parametrize("offset", [0x7FFFFFFF, 0xFFFFFFFE])
@pytest.mark.parametrize("field", ["of the directory", "of the entry"])
def test_an_offset_outside_the_file_is_damage(tmp_path: Path, field: str, offset: int) -> None:
    content = bytearray(zip_of({"train/A/a.jpg": PHOTO}))
    position = len(content) - 6 if field == "of the directory" else content.index(b"PK\1\2") + 42
    struct.pack_into("<I", content, position, offset)
    assert_refused(tmp_path, bytes(content), "damaged|not a zip file")


names = st.text(st.sampled_from("aA/.\\:~ \0\n\x7fé💥_-"), min_size=1, max_size=12).map(
    lambda text: text + ".jpg"
)


@examples(75)
@given(st.lists(names, max_size=4))
def test_no_name_leads_out_of_the_folder(listed: list[str]) -> None:
    folder = PurePosixPath("/somewhere/out")
    for path in photo_entries([zipfile.ZipInfo(f"train/{name}") for name in ["A/a.jpg", *listed]]):
        target = folder / path
        assert target.is_relative_to(folder)
        assert ".." not in target.parts
        assert not set(path) & set("\\:\0\n\x7f")
