"""Permissions of the data folder, the database and logs: closed to other users, whatever the umask."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shlex import quote

import pytest

from tagger.cli.commands.doctor import check_permissions
from tagger.cli.commands.review import open_output
from tagger.database.connection import open_database
from tagger.database.schema import read_revision
from tagger.errors import PermissionsUnsafe, SettingsInvalid
from tagger.model.backends.selection import read_compiled, store_compiled
from tagger.processes.permissions import create_private_file, make_private_folder, require_safe
from tagger.processes.pool import Pool
from tagger.settings import Settings, load_settings
from tagger.web.photo_files import DiskCache


@pytest.fixture(params=[0o000, 0o022], ids=oct)
def umask(request) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


def modes(folder: Path) -> dict[str, str]:
    return {path.name: mode(path) for path in [folder, *folder.rglob("*")]}


@pytest.mark.usefixtures("umask")
def test_a_new_database_is_closed_to_other_users(tmp_path):
    file = tmp_path / "new" / "data" / "tagger.sqlite"
    with closing(open_database(f"sqlite:///{file}")):
        found = modes(tmp_path / "new")
    assert found.pop("new") == found.pop("data") == "0o700"
    assert found == dict.fromkeys(("tagger.sqlite", "tagger.sqlite-wal", "tagger.sqlite-shm"), "0o600")


@pytest.mark.usefixtures("umask")
def test_what_a_group_shares_stays_shared(tmp_path):
    tmp_path.chmod(0o2770)
    with closing(open_database(f"sqlite:///{tmp_path / 'tagger.sqlite'}")):
        make_private_folder(tmp_path / "a" / "b")
        create_private_file(tmp_path / "a" / "b" / "file")
        DiskCache(tmp_path / "web-cache", 1000).put("name", b"x")
        for path in [tmp_path, *tmp_path.rglob("*")]:
            assert mode(path) == ("0o2770" if path.is_dir() else "0o660"), path


def test_output_follows_the_umask(tmp_path):
    before = os.umask(0o022)
    with open_output(tmp_path / "file", force=True) as file:
        file.write(b"x")
    assert mode(tmp_path / "file") == "0o644"
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_caches_and_logs_are_closed_to_other_users(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    DiskCache(folder / "web-cache", 1000).put("name", b"x")
    monkeypatch.setattr("sys.executable", "/bin/true")
    with Pool(folder, print, 60.0) as pool:
        pool.start("worker", "worker").wait(60)
    for path in folder.rglob("*"):
        assert mode(path) == ("0o700" if path.is_dir() else "0o600"), path
    assert {"web-cache", "worker.log"} <= set(modes(folder))


def test_a_folder_or_file_that_every_user_can_change_is_refused_and_not_even_opened(tmp_path):
    folder = tmp_path / "it's here"
    url = f"sqlite:///{folder}/tagger.sqlite"
    open_database(url).close()
    for path, bad, good in (
        (folder, 0o777, 0o1777),
        (folder / "tagger.sqlite", 0o666, 0o664),
        (folder / "tagger.sqlite-wal", 0o666, 0o664),
    ):
        path.touch()
        path.chmod(bad)
        # Opening it creates files beside it, which have its permissions and would be refused later.
        before = modes(folder)
        with pytest.raises(PermissionsUnsafe, match="every user of this machine can change it") as refused:
            open_database(url)
        with pytest.raises(PermissionsUnsafe, match=re.escape(f"chmod o-w {quote(str(path))}")):
            read_revision(url)
        assert modes(folder) == before
        subprocess.run(str(refused.value).partition("Run: ")[2], shell=True, check=True)
        open_database(url).close()
        path.touch()  # SQLite deletes its -wal file
        path.chmod(good)
        open_database(url).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_another_user_owns_is_refused_unless_it_is_of_root_or_for_a_group_of_the_user(
    tmp_path, monkeypatch
):
    file = tmp_path / "file"
    file.touch(0o600)
    os.chown(file, 1234, os.getegid())
    require_safe(file)  # by root
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermissionsUnsafe, match=r"belongs to another user \(1234\).*sudo chown"):
        require_safe(file)
    file.chmod(0o660)
    require_safe(file)
    os.chown(file, 0, 0)
    file.chmod(0o600)
    require_safe(file)
    require_safe(tmp_path / "absent")


def test_a_settings_file_that_every_user_can_change_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "tagger.toml"
    file.write_text("top_k = 3")
    monkeypatch.setenv("TAGGER_CONFIG", str(file))
    for path, bad, good in ((file, 0o666, 0o664), (tmp_path, 0o777, 0o1777)):
        path.chmod(bad)
        with pytest.raises(
            SettingsInvalid, match=f"{file} is not read, because every user .*chmod o-w {path}"
        ):
            load_settings()
        path.chmod(good)
        assert load_settings().top_k == 3


def test_doctor_tells_how_to_close_what_others_can_read_or_change(tmp_path):
    data = tmp_path / "parent" / "data"
    settings = Settings(data_folder=data)
    open_database(settings.effective_database_url).close()

    def found() -> list[tuple[str, str]]:
        return [(str(each.state), each.remedy or "") for each in check_permissions(settings)]

    assert found() == [("ok", "")]
    (data / "tagger.sqlite").chmod(0o644)
    assert found() == [("ok", "")]  # its folder is closed
    data.chmod(0o755)
    assert found() == [("note", f"chmod 700 {data}"), ("note", f"chmod 600 {data}/tagger.sqlite")]
    data.chmod(0o777)
    for state, remedy in found():
        assert state == "wrong" or remedy.startswith(("chmod 700", "chmod 600"))
        subprocess.run(remedy, shell=True, check=True)
    assert found() == [("ok", "")]
    compiled = settings.conversions_folder / "a-1"
    store_compiled(b"a network", compiled)
    for path, bad in ((settings.conversions_folder, 0o777), (compiled, 0o666)):
        path.chmod(bad)
        assert read_compiled(compiled) is None
        (finding,) = check_permissions(settings)
        assert (finding.state, f"{path} is not used" in finding.found) == ("wrong", True)
        subprocess.run(finding.remedy or "", shell=True, check=True)
        assert read_compiled(compiled) == b"a network"
