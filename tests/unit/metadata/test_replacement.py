"""Replacing files: attributes stay, and files in use by other programs are refused."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.disks import NOBODY, file_size_limit, mounted_disk, without_root_privileges
from support.format_photos import temporary_path

from tagger.metadata import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.photo_files import remove_leftovers
from tagger.metadata.replacement import PreparedFile, prepare, read_for_writing

OLD, NEW = b"old" * 1000, b"new" * 1500
LIMIT = 1 << 20
TIME_NS = 1_111_111_111_123_456_789
ACL = "system.posix_acl_access"


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(OLD)
    path.chmod(0o640)
    os.utime(path, ns=(TIME_NS + 7, TIME_NS))
    return path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can access, unlike a test's own."""
    folder = Path(tempfile.mkdtemp(prefix="replacing-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", "64k") as disk:
        yield disk


def only_root() -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")


def prepare_file(path: Path, data: bytes | None = NEW, *, photo: Path | None = None) -> PreparedFile:
    return prepare(read_for_writing(path, max_bytes=LIMIT), data, photo=photo)


def write(path: Path, data: bytes | None = NEW, *, photo: Path | None = None) -> None:
    prepare_file(path, data, photo=photo).replace()


def refusal_kind(path: Path, data: bytes | None = NEW) -> RefusalKind:
    """The kind of refusal. Checks that no file was changed or left behind."""
    before = sorted((file.name, file.lstat()) for file in path.parent.iterdir())
    with pytest.raises(WriteRefused) as excinfo:
        write(path, data)
    assert "." in excinfo.value.text
    after = sorted((file.name, file.lstat()) for file in path.parent.iterdir())
    assert [(name, status.st_ino, status.st_ctime_ns) for name, status in after] == [
        (name, status.st_ino, status.st_ctime_ns) for name, status in before
    ]
    return excinfo.value.kind


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def acl(named_user: int) -> bytes:
    """An access list: the owner and a named user may read and write, others have no access."""
    entries = [
        (1, 6, 2**32 - 1),
        (2, 6, named_user),
        (4, 4, 2**32 - 1),
        (16, 6, 2**32 - 1),
        (32, 0, 2**32 - 1),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def set_attribute(path: Path, name: str, value: bytes) -> None:
    if not hasattr(os, "setxattr"):
        pytest.skip("extended attributes are not Python's here")
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"this file system takes no {name}: {error}")


# Attributes


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o777, 0o664, 0o200])
def test_permissions_and_times_to_the_nanosecond_stay(mode, photo):
    photo.chmod(mode)
    write(photo)
    status = photo.stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns, status.st_atime_ns) == (mode, TIME_NS, TIME_NS + 7)


def test_sidecar_is_newer_after_a_write(photo):
    sidecar = photo.with_name("photo.jpg.xmp")
    sidecar.write_bytes(OLD)
    os.utime(sidecar, ns=(TIME_NS, TIME_NS))
    write(sidecar)
    assert sidecar.stat().st_mtime_ns > TIME_NS


@pytest.mark.parametrize("mode", [0o754, 0o444], ids=["usual", "write-protected"])
def test_new_sidecar_has_its_photos_permissions_and_owner_and_can_be_deleted(photo, mode):
    photo.chmod(mode)
    owner = (1234, 4321) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(photo, *owner)
    sidecar = photo.with_name("photo.jpg.xmp")
    write(sidecar, photo=photo)
    assert sidecar.read_bytes() == NEW
    assert sidecar.stat().st_mode & 0o7777 == 0o644
    assert (sidecar.stat().st_uid, sidecar.stat().st_gid) == owner
    write(sidecar, None)
    assert not sidecar.exists()


def test_owner_and_group_stay_when_root_writes(photo):
    only_root()
    os.chown(photo, 1234, 4321)
    write(photo)
    assert (photo.stat().st_uid, photo.stat().st_gid) == (1234, 4321)


@pytest.mark.parametrize(
    ("name", "value"), [("user.test", b"\x00kept\xff"), ("user.empty", b""), (ACL, acl(1234))]
)
def test_extended_attributes_and_access_lists_stay(photo, name, value):
    set_attribute(photo, name, value)
    before = photo.stat().st_mode
    write(photo)
    assert (os.getxattr(photo, name), photo.stat().st_mode) == (value, before)


def test_default_access_lists_of_the_folder_are_removed(photo):
    set_attribute(photo.parent, "system.posix_acl_default", acl(1234))
    write(photo)
    assert ACL not in os.listxattr(photo)
    assert photo.stat().st_mode & 0o7777 == 0o640


def test_attributes_that_cannot_be_copied_are_refused(photo, monkeypatch):
    set_attribute(photo, "user.test", b"kept")

    def fails(*_args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", fails)
    assert refusal_kind(photo) is RefusalKind.READ_ONLY
    assert photo.read_bytes() == OLD


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".jpg", os.fsdecode(b"\xff\xfe.jpg"), "new\nline.jpg", "ü" * 127]
)
def test_any_file_name_works(name, tmp_path):
    photo = tmp_path / name
    photo.write_bytes(OLD)
    write(photo)
    assert photo.read_bytes() == NEW


# New and deleted sidecars


def test_photo_is_never_deleted(photo):
    with pytest.raises(ValueError, match="only sidecars"):
        prepare_file(photo, None)
    assert photo.read_bytes() == OLD


def test_sidecar_of_another_owners_photo_belongs_to_the_writer(open_folder):
    only_root()
    photo = open_folder / "photo.jpg"
    photo.write_bytes(OLD)
    photo.chmod(0o644)
    open_folder.chmod(0o777)
    with without_root_privileges():
        write(open_folder / "photo.jpg.xmp", photo=photo)
    assert (open_folder / "photo.jpg.xmp").stat().st_uid == NOBODY


@pytest.mark.parametrize(("before", "data"), [(None, NEW), (OLD, None)])
def test_sidecar_that_was_created_or_changed_meanwhile_is_not_overwritten_or_deleted(before, data, photo):
    sidecar = photo.with_name("photo.jpg.xmp")
    if before is not None:
        sidecar.write_bytes(before)
    waiting = prepare_file(sidecar, data, photo=photo)
    sidecar.write_bytes(b"theirs")
    with pytest.raises(WriteRefused) as excinfo:
        waiting.replace()
    assert excinfo.value.kind is RefusalKind.BUSY
    assert sidecar.read_bytes() == b"theirs"


# Refused files


REFUSED: dict[str, tuple[Callable[[Path], object], RefusalKind]] = {
    "a link": (lambda path: path.symlink_to("photo.jpg"), RefusalKind.LINK),
    "a hard link": (lambda path: path.hardlink_to(path.with_name("photo.jpg")), RefusalKind.LINK),
    "a pipe": (os.mkfifo, RefusalKind.FORMAT),
    "a folder": (Path.mkdir, RefusalKind.FORMAT),
    "a write-protected file, even for root": (lambda path: path.touch(0o444), RefusalKind.READ_ONLY),
    "a file over the limit": (lambda path: path.write_bytes(bytes(LIMIT + 1)), RefusalKind.TOO_LARGE),
    "a name that is too long" + "x" * 235: (lambda _path: None, RefusalKind.TOO_LARGE),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_replaced_is_refused(what, photo):
    make, kind = REFUSED[what]
    make(photo.with_name(f"{what}.xmp"))
    assert refusal_kind(photo.with_name(f"{what}.xmp")) is kind


@pytest.mark.parametrize("what", ["a link", "a file over the limit"])
def test_the_remedy_for_a_sidecar_names_nothing_that_holds_for_photos_alone(what, photo):
    sidecar = photo.with_name("photo.jpg.xmp")
    REFUSED[what][0](sidecar)
    with pytest.raises(WriteRefused) as refused:
        read_for_writing(sidecar, max_bytes=LIMIT)
    assert str(refused.value).endswith(
        ("Replace it by the file that it points to.", f"the limit of {LIMIT}. Save it smaller.")
    )


@pytest.mark.parametrize("mode", [0o644, 0o666], ids=["not writable", "its owner cannot be copied"])
def test_file_of_another_owner_is_refused(open_folder, mode):
    only_root()
    photo = open_folder / "photo.jpg"
    photo.write_bytes(OLD)
    photo.chmod(mode)
    open_folder.chmod(0o777)
    with without_root_privileges():
        assert refusal_kind(photo) is RefusalKind.READ_ONLY
    assert photo.read_bytes() == OLD


def test_folder_without_write_permission_is_refused(open_folder):
    photo = open_folder / "photo.jpg"
    photo.write_bytes(OLD)
    photo.chmod(0o666)
    open_folder.chmod(0o555)
    with without_root_privileges():
        assert refusal_kind(photo) is RefusalKind.READ_ONLY
        assert refusal_kind(open_folder / "photo.jpg.xmp") is RefusalKind.READ_ONLY


def test_read_only_disk_is_refused(small_disk):
    photo = small_disk / "photo.jpg"
    photo.write_bytes(OLD)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert refusal_kind(photo) is RefusalKind.READ_ONLY
    assert refusal_kind(small_disk / "photo.jpg.xmp") is RefusalKind.READ_ONLY


def test_full_disk_leaves_the_file_unchanged(small_disk):
    photo = small_disk / "photo.jpg"
    photo.write_bytes(OLD * 8)
    full(photo, NEW * 13)
    assert photo.read_bytes() == OLD * 8
    assert names(small_disk) == {"photo.jpg"}
    write(photo)
    assert photo.read_bytes() == NEW


def test_immutable_files_and_links_are_refused(photo):
    chattr = shutil.which("chattr")
    if not chattr or subprocess.run([chattr, "+i", photo], capture_output=True, check=False).returncode:
        pytest.skip("files cannot be made immutable here")
    try:
        assert refusal_kind(photo) is RefusalKind.READ_ONLY
    finally:
        subprocess.run([chattr, "-i", photo], check=True)
    waiting = prepare_file(photo)
    photo.rename(photo.with_name("moved.jpg"))
    photo.symlink_to("moved.jpg")
    with pytest.raises(WriteRefused) as excinfo:
        waiting.replace()
    assert excinfo.value.kind is RefusalKind.LINK
    assert photo.read_bytes() == OLD


def test_what_is_missing_is_none_and_a_missing_folder_fails(tmp_path):
    assert read_for_writing(tmp_path / "gone.jpg", max_bytes=LIMIT).data is None
    with pytest.raises(WriteFailed) as excinfo:
        write(tmp_path / "gone" / "photo.jpg.xmp")
    assert excinfo.value.kind == "gone"
    with pytest.raises(WriteFailed):
        remove_leftovers(tmp_path / "gone")


# Shares that refuse what local disks allow


SHARES = {
    "exfat": {"fchmod": errno.EPERM, "fchown": errno.EPERM},
    "cifs": {"fchmod": errno.EPERM, "fchown": errno.EPERM, "flock": errno.EOPNOTSUPP},
    "gvfs": {"fchmod": errno.ENOTSUP, "flock": errno.ENOSYS},
    "nfs": {"flock": errno.ENOLCK},
}


def refuse_calls(monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    def refuse(number: int, *_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    for name, number in SHARES[share].items():
        monkeypatch.setattr(fcntl if name == "flock" else os, name, partial(refuse, number))


@pytest.mark.parametrize("share", SHARES)
def test_sidecars_are_created_changed_and_deleted_on_shares_without_permissions_or_locks(
    share, photo, tmp_path, monkeypatch
):
    refuse_calls(monkeypatch, share)
    sidecar = photo.with_name("photo.jpg.xmp")
    for data in (NEW, OLD):
        write(sidecar, data, photo=photo)
        assert sidecar.read_bytes() == data
    write(sidecar, None)
    assert names(tmp_path) == {"photo.jpg"}


def test_a_leftover_on_a_share_without_locks_counts_as_a_writer_until_it_is_old(photo, monkeypatch):
    refuse_calls(monkeypatch, "nfs")
    sidecar = photo.with_name("photo.jpg.xmp")
    temporary_path(sidecar).write_bytes(b"half")
    assert refusal_kind(sidecar) is RefusalKind.BUSY
    hour_ago = time.time() - 3600
    os.utime(temporary_path(sidecar), (hour_ago, hour_ago))
    write(sidecar, photo=photo)
    assert (sidecar.read_bytes(), temporary_path(sidecar).exists()) == (NEW, False)


# Full disks


def full(path: Path, data: bytes) -> None:
    with pytest.raises(WriteFailed) as excinfo:
        write(path, data)
    assert excinfo.value.kind == "disk-full"


def test_file_size_limit_leaves_the_file_unchanged(photo, tmp_path):
    with file_size_limit(4000):
        full(photo, NEW)
    assert photo.read_bytes() == OLD
    assert names(tmp_path) == {"photo.jpg"}


# Concurrent access


@pytest.mark.parametrize("when", ["before it is prepared", "before it is replaced"])
@pytest.mark.parametrize("how", ["written", "exchanged", "touched", "rights", "linked"])
def test_file_changed_since_it_was_read_is_refused(how, when, photo, tmp_path):
    original = read_for_writing(photo, max_bytes=LIMIT)
    waiting = prepare(original, NEW) if when == "before it is replaced" else None
    expected = change(photo, how)
    with pytest.raises(WriteRefused) as excinfo:
        (waiting or prepare(original, NEW)).replace()
    assert excinfo.value.kind is RefusalKind.BUSY
    assert photo.read_bytes() == expected
    assert names(tmp_path) <= {"photo.jpg", "other"}


def change(photo: Path, how: str) -> bytes:
    if how == "written":  # the same size and modification time: only the inode's change time differs
        photo.write_bytes(OLD[::-1])
        os.utime(photo, ns=(TIME_NS + 7, TIME_NS))
    elif how == "exchanged":
        photo.with_name("other").write_bytes(OLD)
        photo.with_name("other").replace(photo)
    elif how == "touched":
        photo.touch()
    elif how == "rights":
        photo.chmod(0o644)
    else:
        photo.with_name("other").hardlink_to(photo)
    return photo.read_bytes()


def test_file_deleted_since_it_was_read_is_not_recreated(photo, tmp_path):
    waiting = prepare_file(photo)
    photo.unlink()
    with pytest.raises(WriteFailed) as excinfo:
        waiting.replace()
    assert excinfo.value.kind == "gone"
    assert names(tmp_path) == set()


def test_two_writers_of_one_file_exclude_each_other_until_the_first_has_checked_the_renamed_file(photo):
    prepared = prepare_file(photo)
    assert refusal_kind(photo) is RefusalKind.BUSY
    prepared._rename()
    assert refusal_kind(photo) is RefusalKind.BUSY
    prepared.discard()
    write(photo, OLD)
    assert photo.read_bytes() == OLD


TIMES = 30


def count_up(path: Path) -> None:
    """Increment the number in a file several times; retry when refused."""
    done = 0
    while done < TIMES:
        try:
            original = read_for_writing(path, max_bytes=LIMIT)
            number = int((original.data or b"").split()[0])
            prepare(original, b"%d " % (number + 1) * 5000).replace()
            done += 1
        except WriteRefused as refusal:
            if refusal.kind is not RefusalKind.BUSY:
                raise


def test_concurrent_processes_lose_no_update(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"0 " * 5000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=count_up, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert len(set(path.read_bytes().split())) == 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert path.read_bytes().split() == [b"%d" % (2 * TIMES)] * 5000
    assert names(tmp_path) == {"photo.jpg"}


# Leftovers of writers that died


def test_another_users_leftover_is_named_in_the_refusal(open_folder):
    only_root()
    sidecar = open_folder / "photo.jpg.xmp"
    temporary_path(sidecar).write_bytes(b"half of somethi")
    temporary_path(sidecar).chmod(0o600)
    open_folder.chmod(0o777)
    with without_root_privileges():
        with pytest.raises(WriteRefused, match=str(temporary_path(sidecar))) as excinfo:
            write(sidecar)
        assert excinfo.value.kind is RefusalKind.BUSY
        assert remove_leftovers(open_folder) == 0
    assert remove_leftovers(open_folder) == 1


def test_leftover_link_does_not_harm_its_target(photo, tmp_path):
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(OLD)
    temporary_path(photo).hardlink_to(precious)
    write(photo)
    assert precious.read_bytes() == OLD
    assert names(tmp_path) == {"photo.jpg", "precious.jpg"}


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_other_file_at_the_temporary_name_is_named_in_the_refusal(what, photo, tmp_path):
    in_the_way = temporary_path(photo)
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(OLD)
    {
        "link": lambda: in_the_way.symlink_to(precious),
        "folder": in_the_way.mkdir,
        "pipe": lambda: os.mkfifo(in_the_way),
    }[what]()
    with pytest.raises(WriteRefused, match=str(in_the_way)):
        write(photo)
    assert remove_leftovers(tmp_path) == 0
    assert precious.read_bytes() == OLD
    assert os.path.lexists(in_the_way)


def test_only_leftovers_are_removed(photo, tmp_path):
    others = {
        ".tagger-notes.part",
        ".tagger-" + "0" * 31 + ".part",
        ".hidden.jpg",
        "x.part",
        "." + "a" * 32 + ".part",
    }
    for name in others:
        (tmp_path / name).write_bytes(OLD)
    for number in range(3):
        temporary_path(tmp_path / f"{number}.jpg").write_bytes(b"half")
    waiting = prepare_file(photo)
    assert remove_leftovers(tmp_path) == 3
    waiting.replace()
    assert photo.read_bytes() == NEW
    assert names(tmp_path) == others | {"photo.jpg"}
