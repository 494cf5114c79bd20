"""The embedded Redis: without its extra, its permissions, and other users who want to take its place."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError
from psutil import Process
from support.commands import end_embedded_redis

from tagger.cli.commands.doctor import check_redis
from tagger.errors import EmbeddedRedisUnavailable, PermissionsUnsafe, RedisUnavailable
from tagger.settings import Settings, load_settings
from worker import embedded_redis
from worker.broker import RedisEndpoint, RedisKeys, check_broker, find_broker, queue_depths
from worker.embedded_redis import UNUSED_COMMANDS, embedded_url, socket_client, start_embedded
from worker.producer import make_app

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

LEDGER = "0c0e5d9e-5d0c-4b8a-9d7c-6f0d2c4b1a3e"
KEYS = RedisKeys(LEDGER)
SQUAT = """
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
os.setuid(1234)
server.listen()
print("listening", flush=True)
clients = [server.accept() for _ in range(100)]
"""


def test_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.embedded_redis.server_program", lambda: None)
    with pytest.raises(EmbeddedRedisUnavailable, match=r"the extra embedded is not installed. Run: "):
        start_embedded(tmp_path, LEDGER)


@pytest.fixture(params=["short", "a" * 120], ids=["short path", "long path"])
def data_folder(request, monkeypatch) -> Iterator[Path]:
    """A data folder whose Redis ends with the test. Machines that run many tests start it slowly."""
    monkeypatch.setattr("worker.embedded_redis.START_TIMEOUT_S", 120)
    with tempfile.TemporaryDirectory() as short:
        folder = Path(short) / request.param / "data"
        yield folder
        end_embedded_redis(folder, LEDGER)


def test_the_server_and_its_files_are_closed_to_other_users(data_folder, monkeypatch):
    monkeypatch.setenv("TAGGER_DATABASE_URL", "postgresql://u:secret@db/x")
    folder = data_folder / "redis" / LEDGER
    folder.mkdir(parents=True)
    for each in (data_folder, folder.parent, folder):
        each.chmod(0o700)
    (folder / "socket-folder").symlink_to(data_folder / "deleted")
    before = os.umask(0)
    try:
        url = start_embedded(data_folder, LEDGER)
    finally:
        os.umask(before)
    with RedisEndpoint(url, KEYS, embedded=True).client() as client:
        facts = client.info()
        client.rpush("list", "x")
        for command in UNUSED_COMMANDS:
            with pytest.raises(redis.ResponseError, match="unknown command"):
                client.execute_command(command, "x", "y")
    server = Process(facts["process_id"])
    assert facts["tcp_port"] == 0
    assert not server.net_connections("inet")
    assert not any("TAGGER" in name for name in server.environ())
    socket = Path(url.removeprefix("redis+socket://"))
    for path in [data_folder, *data_folder.rglob("*"), socket.parent, socket]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert socket.is_relative_to(data_folder) == (len(str(data_folder)) < 100)
    assert start_embedded(data_folder, LEDGER) == url
    with closing(make_app(url, KEYS)) as app, app.connection_for_write() as connection:
        assert connection.default_channel.queue_declare("queue").message_count == 0


@pytest.mark.parametrize("data_folder", ["short"], indirect=True)
def test_a_server_outlives_its_watcher_and_never_runs_beside_another(data_folder):
    with RedisEndpoint(start_embedded(data_folder, LEDGER), KEYS, embedded=True).client() as client:
        server = Process(client.info()["process_id"])
    folder = data_folder / "redis" / LEDGER
    second = subprocess.run(
        [sys.executable, "-P", "-m", "worker.embedded_redis", data_folder / "other", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert "another server holds" in second.stderr
    server.parent().kill()
    start_embedded(data_folder, LEDGER)
    assert server.is_running()


@pytest.mark.parametrize("data_folder", ["short"], indirect=True)
def test_a_frozen_server_is_neither_an_error_nor_started_again(data_folder, monkeypatch):
    monkeypatch.setattr(embedded_redis, "_client", lambda socket: socket_client(str(socket), timeout_s=0.5))
    monkeypatch.setattr("worker.broker.TIMEOUT_S", 0.5)
    database: Any = SimpleNamespace(ledger_id=LEDGER)
    url = start_embedded(data_folder, LEDGER)
    broker = RedisEndpoint(url, KEYS, embedded=True)
    with broker.client() as client:
        server = Process(client.info()["process_id"])
    server.suspend()
    try:
        assert start_embedded(data_folder, LEDGER) == url
        with pytest.raises(RedisUnavailable, match="does not answer"):
            check_broker(broker)
        assert isinstance(queue_depths(broker)[1], RedisUnavailable)
        (finding,) = check_redis(Settings(data_folder=data_folder, redis_url=None), database)
        assert (finding.state, "does not answer" in finding.found) == ("wrong", True)
    finally:
        server.resume()
    check_broker(broker)


@pytest.mark.parametrize("use", [start_embedded, embedded_url])
def test_a_data_folder_that_every_user_can_change_is_refused(data_folder, use):
    server = data_folder / "redis" / LEDGER
    server.mkdir(parents=True)
    for folder in (data_folder, server.parent, server):
        folder.chmod(0o777)
        with pytest.raises(PermissionsUnsafe, match="chmod o-w"):
            use(data_folder, LEDGER)
        folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_the_running_server_in_another_users_folder_is_not_used(data_folder, monkeypatch):
    (data_folder / "redis").mkdir(parents=True)
    os.chown(data_folder, 1234, -1)
    with monkeypatch.context() as patches:
        patches.setattr(os, "geteuid", lambda: 1000)
        patches.setattr(embedded_redis, "_is_running", lambda _socket: True)
        for start in (True, False):
            with pytest.raises(PermissionsUnsafe, match="belongs to another user"):
                find_broker(load_settings(data_folder=data_folder), LEDGER, start=start)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a server as another user")
def test_the_server_of_another_user_is_not_used(tmp_path):
    socket = tmp_path / "redis.sock"
    url = f"redis+socket://{socket}"
    with subprocess.Popen([sys.executable, "-c", SQUAT, socket], stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline()
        try:
            with pytest.raises(RedisUnavailable, match="belongs to another user"):
                check_broker(RedisEndpoint(url, KEYS, embedded=True))
            with (
                closing(make_app(url, KEYS)) as app,
                app.connection_for_write() as connection,
                pytest.raises(OperationalError, match="belongs to another user"),
            ):
                connection.ensure_connection(max_retries=1, timeout=1)
        finally:
            server.kill()
