"""`tagger doctor --quick`: one line and an exit code for health checks."""

import os
import socket
import subprocess
import sys

import pytest
from rig.servers import RedisServer
from support.command_line import CommandOutput, CommandRunner

from tagger.database.connection import Database
from tagger.ledger.workers import record_heartbeat

HEALTHY = "healthy: disk space, database, redis\n"


@pytest.fixture
def quick(tagger_with_redis: CommandRunner) -> CommandRunner:
    """Runs the command with these options; whatever it finds, it prints one line on stdout alone."""

    def run(*options: str) -> CommandOutput:
        output = tagger_with_redis("doctor", "--quick", *options)
        assert output.text.count("\n") == 1, output.text
        assert output.err == ""
        return output

    return run


def test_a_healthy_installation_is_one_line(
    quick: CommandRunner, tagger_with_redis: CommandRunner, sqlite_database: Database
) -> None:
    output = quick()
    assert (output.code, output.text) == (0, HEALTHY)
    checks = tagger_with_redis("doctor", "--quick", "--json").json["checks"]
    assert f"healthy: {', '.join(check['name'] for check in checks)}\n" == HEALTHY


@pytest.mark.slow
def test_what_is_slow_to_import_is_not_imported(tagger_with_redis: CommandRunner) -> None:
    program = (
        "import sys\nfrom tagger.cli.main import main\nsys.argv = ['tagger', 'doctor', '--quick']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "slow = {'torch', 'celery', 'kombu', 'alembic', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'{code} {slow}' if code or slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, HEALTHY), done.stderr


def test_all_problems_are_in_the_line_without_passwords(
    quick: CommandRunner, tagger_with_redis: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGER_DATABASE_URL", "postgresql://u:geheim@127.0.0.1:1/x")
    monkeypatch.setenv("TAGGER_REDIS_URL", "redis://:geheim@127.0.0.1:1/0")
    output = quick()
    assert output.code == 1
    assert output.text.startswith("database: ")
    assert "; redis: " in output.text
    assert "geheim" not in output.text
    monkeypatch.setenv("TAGGER_TOP_K", "many")
    invalid = tagger_with_redis("doctor", "--quick")
    assert (invalid.code, "TAGGER_TOP_K" in invalid.err) == (1, True)


def test_a_redis_that_is_frozen_or_full_is_reported(quick: CommandRunner, redis_server: RedisServer) -> None:
    redis_server.pause()
    assert "does not answer" in quick().text
    redis_server.resume()
    redis_server.refuse_messages("full")
    output = quick()
    assert output.code == 1
    assert output.text.startswith("redis: ")
    redis_server.accept_messages()
    assert quick().code == 0


def test_a_worker_of_this_machine_must_be_alive(
    quick: CommandRunner, tagger_with_redis: CommandRunner, sqlite_database: Database
) -> None:
    record_heartbeat(sqlite_database, "tagger-1@elsewhere", "cpu")
    output = quick("--worker")
    assert output.code == 1
    assert f"no worker on {socket.gethostname()} is alive" in output.text
    record_heartbeat(sqlite_database, f"tagger-{os.getpid()}@{socket.gethostname()}", "cpu")
    assert quick("--worker").code == 0
    alone = tagger_with_redis("doctor", "--worker")
    assert (alone.code, "--quick" in alone.err) == (2, True)
