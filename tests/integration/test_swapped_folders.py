"""Folders become links while they are worked on: nothing outside the root is read or changed."""

import os
import shutil
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from support.scenes import tree
from support.written_folder import EMBED, SIDECAR, WrittenFolder

from tagger.metadata import photo_writer
from tagger.metadata.photo_writer import PreparedPhoto
from tagger.photos.files import LinkRefused, open_folder, open_photo, read_photo

STRANGER, OWNER = 12345, 54321
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class SharedFolder:
    """`photos/shared`, which can change its place with a link to `outside`, a folder with copies."""

    def __init__(self, folder: WrittenFolder, count: int = 1) -> None:
        self.folder = folder
        for number in range(count):
            folder.draw(f"shared/{number}.jpg", 0, shade=number)
        folder.draw("other.jpg", 1)
        folder.tag()
        self.place = folder.folder / "shared"
        self.moved = folder.folder / "moved"
        self.outside = folder.folder.parent / "outside"
        self.copy()

    def copy(self) -> None:
        """Make the folder outside a copy, with the same times."""
        shutil.rmtree(self.outside, ignore_errors=True)
        shutil.copytree(self.place, self.outside)
        self.before = self.state()

    def state(self) -> dict[str, tuple[int, int, bytes]]:
        """What is outside: inode, change time and content of each file, and of the folder."""
        files = {**tree(self.outside), ".": b""}
        statuses = {name: (self.outside / name).stat() for name in files}
        return {
            name: (statuses[name].st_ino, statuses[name].st_ctime_ns, data) for name, data in files.items()
        }

    def swap(self) -> None:
        self.place.rename(self.moved)
        self.place.symlink_to(self.outside)


def before_call(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    path_of: Callable[[Any], Path],
    act: Callable[[], None],
) -> None:
    """Act once, before the first call for the shared photo. Other photos may be in other threads."""
    original = getattr(owner, name)
    acts = [act]

    def wrapped(subject: object, *args: object) -> object:
        if acts and path_of(subject).name == "0.jpg":
            acts.pop()()
        return original(subject, *args)

    monkeypatch.setattr(owner, name, wrapped)


SWAPS: dict[str, tuple[object, str, Callable[[Any], Path]]] = {
    "before the file is read": (photo_writer, "plan_photo", attrgetter("path")),
    "before it is prepared": (photo_writer, "prepare_photo", attrgetter("request.path")),
    "before it is replaced": (PreparedPhoto, "replace_files", attrgetter("plan.request.path")),
}


@ON_SQLITE
@pytest.mark.parametrize(
    ("options", "undo"), [(EMBED, False), (SIDECAR, True)], ids=["embed", "undo of a sidecar"]
)
@pytest.mark.parametrize("moment", SWAPS)
def test_write_does_not_follow_a_folder_that_became_a_link(folder, monkeypatch, moment, options, undo):
    shared = SharedFolder(folder)
    if undo:
        folder.write(options)
        shared.copy()
    original = tree(shared.place)
    before_call(monkeypatch, *SWAPS[moment], shared.swap)
    outcomes = folder.undo() if undo else folder.write(options)
    assert shared.state() == shared.before
    assert outcomes["other.jpg"] == "written"
    if moment == "before it is replaced":  # the folder itself was open
        assert outcomes["shared/0.jpg"] == "written"
        assert tree(shared.moved) != original
    else:
        outcome, reason, text = folder.reasons(folder.latest().job)["shared/0.jpg"]
        assert (outcome, reason) == ("refused", "link")
        assert "Tag the folder that the link leads to" in (text or "")
        assert tree(shared.moved) == original


@ON_SQLITE
def test_leftovers_behind_a_link_stay(folder):
    shared = SharedFolder(folder)
    folder.write()
    shared.copy()
    leftover = shared.outside / f".tagger-{'0' * 32}.part"
    leftover.write_bytes(b"precious")
    shared.swap()
    folder.undo()
    assert leftover.read_bytes() == b"precious"


@ON_SQLITE
def test_tagging_does_not_read_behind_a_folder_that_became_a_link(folder):
    shared = SharedFolder(folder)
    job = folder.record(reprocess=True)
    shared.swap()
    folder.run(job)
    (failing,) = folder.failing()
    assert failing.kind == "unreadable"
    assert "Tag the folder that the link leads to" in failing.text


def test_stored_paths_stay_in_the_root_and_folders_that_cannot_be_listed_are_opened(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    for path in (root / "../secret.jpg", tmp_path / "secret.jpg", root / "x/../../secret.jpg"):
        with pytest.raises(LinkRefused):
            open_photo(path, root)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.jpg").write_bytes(b"a")
    inner.chmod(0o111)
    with open_folder(inner, tmp_path) as opened:
        assert opened.exists("a.jpg")
    inner.chmod(0o700)


# Photos that are links


def read(path: Path, root: Path) -> bytes:
    return read_photo(path, max_bytes=100, root=root).data


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "root"
    (root / ".annex").mkdir(parents=True)
    (root / ".annex" / "key").write_bytes(b"annexed")
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    return root


def test_own_links_are_followed(root):
    (root / "inside.jpg").symlink_to(".annex/key")
    (root / "outside.jpg").symlink_to(root.parent / "outside.jpg")
    (root / "chain.jpg").symlink_to("outside.jpg")
    (root.parent / "by-link").symlink_to(root)
    for start in (root, root.parent / "by-link"):
        assert read(start / "inside.jpg", start) == b"annexed"
        assert read(start / "outside.jpg", start) == read(start / "chain.jpg", start) == b"outside"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_strangers_link_leads_to_their_own_files_only(root, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: OWNER)
    outside, link = root.parent / "outside.jpg", root / "link.jpg"
    os.chown(outside, OWNER, -1)
    link.symlink_to(outside)
    os.chown(link, STRANGER, -1, follow_symlinks=False)
    with pytest.raises(LinkRefused):
        open_photo(link, root)
    os.chown(outside, STRANGER, -1)
    assert read(link, root) == b"outside"
    link.unlink()
    link.symlink_to(".annex/key")
    os.chown(link, STRANGER, -1, follow_symlinks=False)
    assert read(link, root) == b"annexed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_link_renamed_while_it_is_read_is_refused(root, monkeypatch):
    own, link, strange = root / "own.jpg", root / "link.jpg", root / "strange.jpg"
    link.symlink_to(root / ".annex" / "key")
    strange.symlink_to(root.parent / "outside.jpg")
    os.chown(strange, STRANGER, -1, follow_symlinks=False)
    original = os.readlink

    def readlink(*args: object, **options: object) -> str:
        link.rename(own)
        strange.rename(link)
        try:
            return original(*args, **options)
        finally:
            link.rename(strange)
            own.rename(link)

    monkeypatch.setattr(os, "readlink", readlink)
    with pytest.raises(LinkRefused):
        open_photo(link, root)
