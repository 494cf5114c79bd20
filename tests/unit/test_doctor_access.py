"""Doctor's remarks on connections that others can read, servers without passwords, and roles that may do everything."""

import pytest

from tagger.cli.doctor import database
from tagger.cli.doctor.broker import check_redis_access
from tagger.cli.doctor.database import check_database_access
from tagger.cli.doctor.findings import State


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://127.0.0.1/0",
        "redis://[::1]:6379/0",
        "redis+socket:///run/redis.sock?virtual_host=0",
        "rediss://tagger:secret@redis.example/0?ssl_ca_certs=/etc/ca.crt",
        "rediss://tagger:secret@redis.example/0?ssl_cert_reqs=required",
    ],
)
def test_a_private_or_encrypted_redis_is_in_order(url: str) -> None:
    assert check_redis_access(url).state is State.OK


@pytest.mark.parametrize(
    ("url", "problems"),
    [
        ("redis://redis.example/0", ["needs no password", "unencrypted"]),
        ("redis://:secret@10.0.0.7/0", ["unencrypted"]),
        ("rediss://redis.example/0", ["needs no password"]),
        ("rediss://:secret@redis.example/0?ssl_cert_reqs=none", ["certificate is not checked"]),
    ],
)
def test_a_redis_that_others_can_read_or_write_is_a_note(url: str, problems: list[str]) -> None:
    finding = check_redis_access(url)
    assert finding.state is State.NOTE
    assert len(finding.found.split("; ")) == len(problems)
    assert all(problem in finding.found for problem in problems)
    assert "secret" not in finding.found


@pytest.mark.parametrize(
    ("url", "is_superuser", "problem"),
    [
        ("postgresql://tagger@/tagger?host=/run/postgresql", False, None),
        ("postgresql://tagger:secret@localhost/tagger", False, None),
        ("postgresql://tagger:secret@db.example/tagger?sslmode=verify-full", False, None),
        ("postgresql://tagger:secret@db.example/tagger", False, "certificate is not checked"),
        ("postgresql://tagger:secret@db.example/tagger?sslmode=require", False, "certificate is not checked"),
        ("postgresql://tagger@/tagger?host=db.example", False, "certificate is not checked"),
        ("postgresql://postgres@localhost/tagger", True, "superuser"),
    ],
)
def test_an_unchecked_certificate_or_a_superuser_is_a_note(
    monkeypatch: pytest.MonkeyPatch, url: str, is_superuser: bool, problem: str | None
) -> None:
    monkeypatch.setattr(database, "is_superuser", lambda _database: is_superuser)
    finding = check_database_access(url, None)  # type: ignore[arg-type]
    assert finding.state is (State.NOTE if problem else State.OK)
    assert problem is None or problem in finding.found
    assert "secret" not in finding.found
