"""Photos on disk: listed once and in order, read within limits, identified by digest."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tagger.cli.job_text import other_files_lines
from tagger.errors import FailureKind, PathNotFound, PhotoFailed
from tagger.extensions import install_command
from tagger.photos import files
from tagger.photos.files import read_photo
from tagger.photos.folders import FolderProblem, FolderSource, FoundPhoto, find_photo
from tagger.photos.formats import Extra
from tagger.photos.names import MOST_EXTENSIONS, OtherFiles
from tagger.photos.paths import path_from_json, path_from_text, path_text, path_to_json, printable_path

MAX_BYTES = 1000
MEMORY_OF_A_LISTING = """
import sys, tracemalloc
from pathlib import Path
from tagger.photos.folders import FolderSource
tracemalloc.start()
print(sum(1 for _ in FolderSource(Path(sys.argv[1])).photos()), tracemalloc.get_traced_memory()[1])
"""


def write(path: Path, content: bytes = b"pixels") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(root: Path, **patterns: tuple[str, ...]) -> list[str]:
    return [photo.path.relative_to(root).as_posix() for photo in FolderSource(root).photos(**patterns)]


def failure(path: Path, *, settle_s: float = 0.0) -> FailureKind:
    with pytest.raises(PhotoFailed) as excinfo:
        read_photo(path, max_bytes=MAX_BYTES, settle_s=settle_s)
    kind, text = excinfo.value.failure.kind, excinfo.value.failure.text
    assert str(path) not in text
    assert ("TAGGER_MAX_BYTES" in text) == (kind is FailureKind.TOO_LARGE), text
    return kind


def test_what_is_missing_is_an_error_and_a_file_that_is_named_needs_no_extension(tmp_path, monkeypatch):
    for root, said in ((None, "There is no such file. Check the name"), (tmp_path, "no such file any more")):
        with pytest.raises(PhotoFailed, match=said) as failed:
            read_photo(tmp_path / "a.jpg", max_bytes=MAX_BYTES, root=root)
        assert failed.value.failure.kind is FailureKind.GONE
    with pytest.raises(PathNotFound, match="missing"):
        FolderSource(tmp_path / "missing").photos()
    with pytest.raises(PathNotFound, match=r"missing\.jpg"):
        find_photo(tmp_path / "missing.jpg")
    write(tmp_path / "IMG_0001", b"123")
    monkeypatch.chdir(tmp_path)
    photo = find_photo(Path("IMG_0001"))
    assert (photo.path, photo.size_bytes) == (tmp_path / "IMG_0001", 3)


def test_photos_of_every_extension_in_any_case_are_found(tmp_path):
    photos = [
        *("a.jpg", "b.JPEG", "c.PnG", "d.webp", "e.tif", "f.TIFF"),
        *("g.gif", "h.bmp", "i.mpo", "j.avif", "k.jpe", "l.jfif"),
    ]
    for name in (*photos, "a.txt", "b.jpg.xmp", "c.eps", "d.pdf", "jpg", "e.mp4"):
        write(tmp_path / name)
    assert names(tmp_path) == photos


def test_files_that_only_their_extension_leaves_out_are_counted(tmp_path):
    for name in ("a.jpg", "b.MP4", "sub/c.mp4", "d.mov", "README", f"e.{'x' * 50}"):
        write(tmp_path / name)
    for name in (".f.mp4", ".hidden/g.mp4", "@eaDir/h.mp4", "a.jpg.xmp", "a.XMP", "skipped/i.mp4", "no.mp4"):
        write(tmp_path / name)
    (tmp_path / "folder").symlink_to(tmp_path / "sub")

    def counted(**patterns: Sequence[str]) -> tuple[int, dict[str, int]]:
        other_files = OtherFiles()
        list(FolderSource(tmp_path).photos(other_files=other_files, **patterns))
        return other_files.count, other_files.by_extension

    assert counted(exclude=("skipped", "no.*")) == (5, {".mp4": 2, ".mov": 1})
    assert counted(include=("*.mov", "a.*")) == (1, {".mov": 1})


def test_json_files_of_photos_that_are_elsewhere_are_named(tmp_path):
    for name in ("metadata.json", "a.jpg.supplemental-metadata.json", "b.mp4.json", "c.jpg", "c.jpg.json"):
        (tmp_path / name).touch()
    other_files = OtherFiles()
    list(FolderSource(tmp_path).photos(other_files=other_files))
    assert other_files.copies_lines() == [
        "1 JSON file has no photo beside it: unpack all parts of a Google Takeout into one folder"
    ]


def test_extensions_that_an_extra_would_read_are_named_with_it(monkeypatch):
    other_files = OtherFiles()
    for extension in (".mp4", ".heic", ".heic"):
        other_files.add(extension)
    monkeypatch.setattr(Extra, "is_installed", False)
    assert other_files_lines(other_files) == [
        "left out by extension: 3 files (2 .heic, .mp4)",
        f"to read .heic files, run: {install_command('heic')}",
    ]
    assert other_files_lines(OtherFiles()) == []


def test_few_of_many_extensions_are_kept():
    other_files = OtherFiles()
    for number in range(2 * MOST_EXTENSIONS):
        other_files.add(f".{number}")
        other_files.add(".0")
    assert other_files.count == 4 * MOST_EXTENSIONS
    assert len(other_files.by_extension) == MOST_EXTENSIONS
    assert other_files.by_extension[".0"] == 2 * MOST_EXTENSIONS + 1


def test_paths_ascend_as_text_over_the_whole_walk(tmp_path):
    ordinary = (
        "a.jpg", "a/z.jpg", "a/b/c.jpg", "a b.jpg", "a-b/c.jpg", "a0.jpg", "A/b.jpg", "b!/x.jpg",
        "b.jpg",
    )  # fmt: skip
    for name in (*ordinary, "é.jpg", "𝄞.jpg", "￿.jpg"):
        write(tmp_path / name)
    paths = names(tmp_path)
    assert len(paths) == 12
    assert paths == sorted(paths)
    assert [name.encode() for name in paths] == sorted(name.encode() for name in paths)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse names that are not UTF-8")
def test_names_that_are_not_utf8_are_found_in_the_order_of_their_text(tmp_path):
    raw = [b"caf\xe9.jpg", b"caf\xff/\xfe.jpg", "café.jpg".encode(), b"line\nbreak.jpg", b"c.jpg"]
    for name in raw:
        write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    texts = [path_text(name) for name in names(tmp_path)]
    assert [text for text, _ in texts] == sorted(text for text, _ in texts)
    assert {path_from_text(*text) for text in texts} == {os.fsdecode(name) for name in raw}
    assert ("caf\\xe9.jpg", b"caf\xe9.jpg") in texts


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse names that are not UTF-8")
def test_two_names_that_read_the_same_are_not_both_yielded(tmp_path):
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")))
    write(tmp_path / "\\xff.jpg")
    kinds = [type(entry) for entry in FolderSource(tmp_path).photos()]
    assert kinds == [FoundPhoto, FolderProblem]


UTF8 = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.encode)


@given((st.binary(min_size=1) | UTF8).filter(lambda raw: b"\0" not in raw))
def test_a_path_survives_as_text_and_as_json(raw):
    path = os.fsdecode(raw)
    text, stored_bytes = path_text(path)
    text.encode()
    assert path_from_text(text, stored_bytes) == path
    assert stored_bytes in (b"", raw)
    assert stored_bytes or text == path == path_to_json(path)
    document = json.dumps(path_to_json(Path(path)), ensure_ascii=False).encode()
    assert path_from_json(json.loads(document)) == Path(path)


def test_path_that_is_not_utf8_has_text_and_bytes_in_json_and_is_printed_as_one_line():
    assert path_to_json(os.fsdecode(b"/caf\xe9")) == {"text": "/caf\\xe9", "bytes": "2f636166e9"}
    assert printable_path(os.fsdecode("/é\n".encode() + b"\xff")) == "/é\\n\\xff"


def test_hidden_files_and_folders_are_passed_over_unless_a_person_names_them(tmp_path):
    for name in (".private/a.jpg", "._a.jpg", "a.jpg"):
        write(tmp_path / name)
    assert names(tmp_path) == ["a.jpg"]
    assert names(tmp_path / ".private") == ["a.jpg"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"exclude": ("*.png",)}, ["a.jpg", "paris/c.jpg", "paris/raw/d.jpg"]),
        ({"exclude": ("paris",)}, ["a.jpg", "b.PNG"]),
        ({"exclude": ("paris/*/d.*",)}, ["a.jpg", "b.PNG", "paris/c.jpg"]),
        ({"include": ("Paris/*",)}, ["paris/c.jpg", "paris/raw/d.jpg"]),
        ({"include": ("?.jpg",), "exclude": ("c*",)}, ["a.jpg", "paris/raw/d.jpg"]),
        ({"include": ("nothing",)}, []),
    ],
)
def test_patterns_let_in_and_keep_out(tmp_path, patterns, expected):
    for name in ("a.jpg", "b.PNG", "paris/c.jpg", "paris/raw/d.jpg"):
        write(tmp_path / name)
    assert names(tmp_path, **patterns) == expected


def test_links_to_photos_elsewhere_are_found_and_fail_when_they_lead_nowhere(tmp_path):
    root = tmp_path / "root"
    outside = write(tmp_path / "outside.jpg", b"123")
    for name in ("a.jpg", ".annex/objects/key.jpg", "data/no-extension"):
        write(root / name)
    links = {
        "b.jpg": outside,
        "c.jpg": "a.jpg",  # which is found itself
        "d.jpg": ".annex/objects/key.jpg",
        "e.jpg": "data/no-extension",
        "f.jpg": "data",
        "g.jpg": "missing",
        "h.jpg": "h.jpg",
        "data/loop": root,
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert names(root) == [f"{letter}.jpg" for letter in "abdegh"]
    found = {photo.path.name: photo for photo in FolderSource(root).photos()}
    assert found["b.jpg"] == FoundPhoto(str(root / "b.jpg"), 3, outside.stat().st_mtime_ns, ())
    for name, kind in (("g.jpg", FailureKind.GONE), ("h.jpg", FailureKind.UNREADABLE)):
        assert found[name] == FoundPhoto(str(root / name), 0, 0, ())
        assert failure(root / name) is kind


def test_pipes_and_sockets_are_problems_and_hold_nothing_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is limited to about 100 bytes
    os.mkfifo(tmp_path / "a.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("b.jpg")
        entries = list(FolderSource(tmp_path).photos())
    assert [(type(problem), problem.path.name) for problem in entries] == [
        (FolderProblem, "a.jpg"),
        (FolderProblem, "b.jpg"),
    ]
    assert failure(tmp_path / "a.jpg") is FailureKind.UNREADABLE
    assert failure(tmp_path / "b.jpg") is FailureKind.UNREADABLE
    assert failure(Path("/dev/zero")) is FailureKind.UNREADABLE
    if (descriptors := Path("/proc/self/fd")).exists():
        before = len([*descriptors.iterdir()])
        assert failure(tmp_path) is FailureKind.UNREADABLE
        assert len([*descriptors.iterdir()]) == before


def deny_access(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `os.scandir` and `os.open` raise PermissionError for `path`, also for root."""
    scandir, opened = os.scandir, os.open

    def check(path_or_name: object) -> None:
        if Path(str(path_or_name)) == path:
            raise PermissionError(13, "Permission denied")

    def refusing_scandir(folder: str) -> Iterator[os.DirEntry[str]]:
        check(folder)
        return scandir(folder)

    def refusing_open(file: str, *args: int) -> int:
        check(file)
        return opened(file, *args)

    monkeypatch.setattr(os, "scandir", refusing_scandir)
    monkeypatch.setattr(os, "open", refusing_open)


def test_unreadable_folders_and_files_fail_with_their_kind(tmp_path, monkeypatch):
    for name in ("a/a.jpg", "b/b.jpg", "c.jpg"):
        write(tmp_path / name)
    deny_access(tmp_path / "b", monkeypatch)
    entries = list(FolderSource(tmp_path).photos())
    assert [entry.path.relative_to(tmp_path).as_posix() for entry in entries] == ["a/a.jpg", "b", "c.jpg"]
    assert isinstance(entries[1], FolderProblem)
    assert "permission denied" in entries[1].text
    assert failure(tmp_path / "gone.jpg") is FailureKind.GONE
    assert failure(write(tmp_path / "file.jpg") / "below.jpg") is FailureKind.GONE
    assert failure(write(tmp_path / "empty.jpg", b"")) is FailureKind.EMPTY
    assert failure(write(tmp_path / "large.jpg", bytes(MAX_BYTES + 1))) is FailureKind.TOO_LARGE
    deny_access(write(tmp_path / "secret.jpg"), monkeypatch)
    assert failure(tmp_path / "secret.jpg") is FailureKind.UNREADABLE


def test_a_large_folder_takes_little_memory(tmp_path):
    count = 3000
    for number in range(count):
        (tmp_path / f"IMG_{number:07}.jpg").touch()
    # This process has threads of other tests.
    command = [sys.executable, "-c", MEMORY_OF_A_LISTING, str(tmp_path)]
    found, most_bytes = map(int, subprocess.check_output(command, text=True).split())
    assert found == count
    assert most_bytes < 300 * count


def test_deep_folders_are_walked_without_recursion(tmp_path):
    depth = 300
    previous = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        write(Path("a.jpg"))
    finally:
        os.chdir(previous)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(250)
    try:
        assert names(tmp_path) == ["d/" * depth + "a.jpg"]
    finally:
        sys.setrecursionlimit(limit)


def test_photo_that_is_still_being_written_is_waited_for_and_then_fails(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jpg", b"one")
    stat_of = os.fstat
    growths = iter(range(2))

    def growing(descriptor: int) -> os.stat_result:
        status = stat_of(descriptor)
        if next(growths, None) is not None:
            with path.open("ab") as file:
                file.write(b"more")
        return status

    monkeypatch.setattr(os, "fstat", growing)
    monkeypatch.setattr(files, "RETRY_PAUSE_S", 0)
    assert read_photo(path, max_bytes=MAX_BYTES).data == b"onemoremore"
    growths = iter(range(100))
    assert failure(path) is FailureKind.SETTLING


def test_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jpg", b"old content")
    new = write(tmp_path / "new", b"new")
    stat_of = os.fstat
    replacements = iter([new])

    def replacing(descriptor: int) -> os.stat_result:
        for file in replacements:
            file.replace(path)
        return stat_of(descriptor)

    monkeypatch.setattr(os, "fstat", replacing)
    monkeypatch.setattr(files, "RETRY_PAUSE_S", 0)
    assert read_photo(path, max_bytes=MAX_BYTES).data == b"new"


def test_file_that_changed_a_moment_ago_is_not_read_and_one_of_the_future_is(tmp_path):
    path = write(tmp_path / "a.jpg")
    assert failure(path, settle_s=60) is FailureKind.SETTLING
    os.utime(path, (1, 1))  # what `cp -p` does at its end
    assert failure(path, settle_s=60) is FailureKind.SETTLING
    # A copy that has just begun, and one whose program reserves the space first.
    assert failure(write(tmp_path / "b.jpg", b""), settle_s=60) is FailureKind.SETTLING
    assert failure(write(tmp_path / "c.jpg", bytes(MAX_BYTES + 1)), settle_s=60) is FailureKind.SETTLING
    for changed_at in (1, time.time() + 86_400):
        os.utime(path, (changed_at, changed_at))
        time.sleep(0.1)
        assert read_photo(path, max_bytes=MAX_BYTES, settle_s=0.05).data == b"pixels"
