"""Addresses: no part of a server's password is shown, and those in buckets behave as paths."""

import io
import os
import pickle
import traceback
from contextlib import redirect_stderr, suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings, strategies as st
from rig.servers import KEYS
from support.examples import examples

from tagger.database.connection import open_database
from tagger.database.diagnostics import bounded_url
from tagger.database.engine import parse_database_url, sqlite_file
from tagger.database.schema import read_revision
from tagger.errors import ObjectAddressInvalid, ObjectUnsupported, SettingsInvalid, TaggerError
from tagger.photos.paths import ObjectPath, absolute_path, parse_path, path_from_json, path_to_json
from tagger.settings import load_settings
from tagger.texts.addresses import (
    HIDDEN,
    AddressInvalid,
    database_address,
    redact_url,
    redis_address,
)
from worker.broker import RedisEndpoint, check_accepts_messages, check_broker, find_broker, queue_depths

# Rare in messages, so that a piece of a password is not in them by chance.
LETTERS = "ZQXJKVWYzqxjkvwy"
PIECE = 4
PHASES = [Phase.explicit, Phase.generate]  # Without shrinking, which takes minutes


passwords = st.lists(
    st.tuples(st.text(LETTERS, min_size=PIECE, max_size=8), st.text("@:/?#%[]&=;,. '\"\\+~!", max_size=2)),
    min_size=1,
    max_size=3,
).map(lambda parts: "".join(letters + special for letters, special in parts))


def manglings(scheme: str, password: str) -> list[str]:
    """Addresses with this password: valid, unescaped, and with common mistakes."""
    return [
        f"{scheme}://:{password}@127.0.0.1:1/0",
        f"{scheme}://user:{password}@127.0.0.1:1/0",
        f"{scheme}:user:{password}@127.0.0.1:1/0",
        f"{scheme}:///user:{password}@127.0.0.1:1/0",
        f"user:{password}@127.0.0.1:1/0",
        f" {scheme}://user:{password}@127.0.0.1:1/0",
        f"'{scheme}://user:{password}@127.0.0.1:1/0'",
        f"{scheme.upper()}://user:{password}@127.0.0.1:1/0",
        f"{scheme}://user:{password}@[127.0.0.1:1/0",
        f"{scheme}://user:{password}@127.0.0.1:port/0",
        f"{scheme}://user:{password}@127.0.0.1:99999999/0",
        f"{scheme}://user:{password}@127.0.0.1:1/0?password={password}",
        f"{scheme}://127.0.0.1:1/0?password={password}",
        f"{scheme}://user:{password}@",
        # With an @, these are valid addresses of a host whose name is the end of the password.
        *(
            [f"{scheme}://127.0.0.1:{password}/0", f"{scheme}://user:{password}"]
            if "@" not in password
            else []
        ),
        f"x{scheme}://user:{password}@127.0.0.1:1/0",
        password,
    ]


def assert_hidden(password: str, shown: str) -> None:
    letters = [char if char in LETTERS else " " for char in password]
    for word in "".join(letters).split():
        for start in range(len(word) - PIECE + 1):
            assert word[start : start + PIECE] not in shown, shown


def shown_by(action: object, *arguments: object) -> str:
    """What the action returns, or its error with all causes as -vv prints them."""
    output = io.StringIO()
    with redirect_stderr(output):
        try:
            result = action(*arguments)
        except (TaggerError, ValueError) as error:
            return output.getvalue() + "".join(traceback.format_exception(error)) + repr(error)
    return output.getvalue() + repr(result)


@settings(examples(5), phases=PHASES)
@given(password=passwords)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+socket"])
def test_no_part_of_the_password_of_redis_is_shown(scheme, password):
    for url in manglings(scheme, password):
        if scheme == "redis+socket" and ":///" in url:
            continue  # a path
        broker = RedisEndpoint(url, KEYS, embedded=False)
        shown = [shown_by(action, broker) for action in (check_broker, check_accepts_messages, queue_depths)]
        shown += [repr(broker), broker.redacted_url, shown_by(find_broker_of, url)]
        for text in shown:
            assert_hidden(password, text)


def find_broker_of(url: str) -> object:
    with suppress(SettingsInvalid):
        loaded = load_settings(redis_url=url)
        return loaded, find_broker(loaded, KEYS.ledger_id, start=False)
    return None


@settings(examples(2), phases=PHASES)
@given(password=passwords)
@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "mysql"])
def test_no_part_of_the_password_of_postgresql_is_shown(scheme, password):
    for url in manglings(scheme, password):
        for action in (open_database, read_revision, bounded_check, redact_url, sqlite_file):
            assert_hidden(password, shown_by(action, url))
        assert_hidden(password, shown_by(partial(load_settings, database_url=url)))


def bounded_check(url: str) -> None:
    bounded_url(url)  # its result is for the driver alone


def test_an_error_in_the_settings_file_does_not_show_its_values(tmp_path, monkeypatch):
    file = tmp_path / "tagger.toml"
    monkeypatch.setenv("TAGGER_CONFIG", str(file))
    for line in (
        "redis_url = redis://:ZQXJKV@h",
        "redis_url = ['ZQXJKV']",
        "redis_url = 'ZQXJKV",
        "web_token = 'ZQXJKV'",
    ):
        file.write_text(line)
        assert_hidden("ZQXJKV", shown_by(load_settings))


def test_valid_addresses_are_shown_without_secrets():
    redis = "redis+socket:///me@work/the data/redis.sock"
    for check, url, shown in (
        (redis_address, "redis://", "redis://"),
        (redis_address, "rediss://redis.example:6380/3", "rediss://redis.example:6380/3"),
        (redis_address, "redis://:p%40ss@[::1]:6379/0", "redis://[::1]:6379/0"),
        (redis_address, "redis://user:pass@redis_1:6379?socket_timeout=3", "redis://redis_1:6379"),
        (redis_address, f"{redis}?virtual_host=1", redis),
        (database_address, "postgresql:///tagger?host=/run/postgresql", "postgresql:///tagger"),
        (database_address, "postgresql+psycopg://me@db.example:5432/x", "postgresql://db.example:5432/x"),
        (database_address, "postgres://u:a/b:c#d@db/x", "postgres://db/x"),
        (database_address, "postgresql://u:p%40@[2001::1]/x?sslmode=require", "postgresql://[2001::1]/x"),
    ):
        check(url)
        assert redact_url(url) == shown


@pytest.mark.parametrize(
    "options", ["password=ZQ&XJKV", "ssl_verify=ZQXJKV", "ssl_cert_reqs=ZQXJKV", "ZQXJKV", "db=0&&ZQXJKV=1"]
)
def test_an_option_that_redis_does_not_know_is_refused_without_its_name(options):
    url = f"rediss://127.0.0.1:1/0?{options}"
    with pytest.raises(AddressInvalid, match="that Redis clients do not know"):
        redis_address(url)
    for action in (check_broker, check_accepts_messages, queue_depths):
        assert_hidden("ZQXJKV", shown_by(action, RedisEndpoint(url, KEYS, embedded=False)))


@pytest.mark.parametrize("name", ["sslmode", "connect_timeout", "service", "hostaddr", "port"])
def test_an_error_of_postgresql_s_client_does_not_show_the_values_of_options(name):
    url = f"postgresql://user@127.0.0.1:1/x?application_name=y&{name}=ZQXJKV"
    assert_hidden("ZQXJKV", shown_by(open_database, url))


def test_an_invalid_address_is_explained():
    assert redact_url("redis://:a@b@c") == redact_url("postgresql://u:1?x@db/x") == HIDDEN
    with pytest.raises(AddressInvalid, match=r"like redis://HOST:6379/0; .*@ is %40"):
        redis_address("redis://:a@b@c")
    with pytest.raises(
        SettingsInvalid, match=r"database_url: .*like postgresql://USER@HOST/NAME; .*@ is %40"
    ):
        open_database("postgresql://u:a@b@c/x")


@pytest.mark.parametrize(
    "text", ["redis://host", "REDISS://host?ssl_cert_reqs=required", "redis+socket:///run/redis.sock"]
)
def test_addresses_of_redis_are_understood(text):
    address = redis_address(text)
    assert address == text.replace("REDISS", "rediss")
    RedisEndpoint(address, KEYS, embedded=False).client().close()


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("postgresql+psycopg2://u:p@h/db", "postgresql://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("POSTGRES+asyncpg://h", "postgresql://h", "postgresql+psycopg://h"),
        (
            "postgresql://u@h1:5432,h2:5433/db?target_session_attrs=any",
            "postgresql://u@h1:5432,h2:5433/db?target_session_attrs=any",
            "postgresql+psycopg://u@/db?host=h1%2Ch2&port=5432%2C5433&target_session_attrs=any",
        ),
        (
            "postgresql://[::1]:5433,h/db",
            "postgresql://[::1]:5433,h/db",
            "postgresql+psycopg:///db?host=%3A%3A1%2Ch&port=5433%2C5432",
        ),
        ("sqlite+aiosqlite:////data/t.sqlite", "sqlite:////data/t.sqlite", "sqlite:////data/t.sqlite"),
    ],
)  # fmt: skip
def test_other_forms_of_database_addresses_are_understood(text, address, shown):
    assert database_address(text) == address
    assert database_address(address) == address
    assert parse_database_url(text).render_as_string(hide_password=False) == shown


def test_other_addresses_are_refused():
    of_redis = ("host", "host:6379", "amqp://host", "redis+sentinel://host", "rediss://h?ssl_cert_reqs=yes")
    of_databases = ("host", "host:5432/db", "jdbc:postgresql://h/db", "mysql://h/db", "/data/t.sqlite")
    of_databases += ("host=h dbname='x", "nonsense=1", "sqlite:t")
    for read, texts in ((redis_address, of_redis), (database_address, of_databases)):
        for text in texts:
            with pytest.raises(AddressInvalid):
                read(text)


PART = st.text(min_size=1, max_size=20).filter(
    lambda part: part not in {".", ".."} and "/" not in part and "\0" not in part and part.isprintable()
)


def test_an_address_has_the_parts_of_a_path():
    path = parse_path("s3://holidays/2019/a b.jpg")
    assert isinstance(path, ObjectPath)
    assert str(path) == "s3://holidays/2019/a b.jpg"
    assert (path.scheme, path.bucket, path.key) == ("s3", "holidays", "2019/a b.jpg")
    assert (str(path.parent), path.name) == ("s3://holidays/2019", "a b.jpg")
    assert str(path.relative_to(parse_path("s3://holidays"))) == "2019/a b.jpg"
    assert not path.is_relative_to(Path("/holidays"))
    assert not Path("/holidays/2019").is_relative_to(path)


def test_what_a_command_line_makes_of_an_address_is_the_address_and_other_paths_stay_paths():
    for scheme in ("s3", "gs", "az"):
        path = parse_path(Path(f"{scheme}://holidays/2019/"))
        assert str(path) == f"{scheme}://holidays/2019"
        assert path == parse_path(f"{scheme}://holidays/2019")
        assert absolute_path(Path(str(path))) == path.resolve() == path
    for text in ("/photos/s3:/x", "photos/s3:", "s3", "https://host/x", "./x"):
        assert type(parse_path(text)) is type(Path())


@given(st.lists(PART, max_size=4))
def test_an_address_survives_json_and_pickle(parts):
    path = parse_path("/".join(["s3://holidays", *parts]))
    assert isinstance(path, ObjectPath)
    assert path.key == "/".join(parts)
    assert path_from_json(path_to_json(path)) == path
    assert pickle.loads(pickle.dumps(path)) == path


def test_an_invalid_address_is_refused_without_naming_it():
    malformed = ("s3://", "s3://AKIA:secret@holidays/x", "s3://holidays/../other", "s3:/")
    reasons = dict.fromkeys(malformed, "write it as s3://BUCKET/PREFIX")
    reasons["S3://holidays"] = "write s3:// in lower case"
    reasons["gs://Holidays/2019"] = "names of buckets are in lower case"
    for text, reason in reasons.items():
        with pytest.raises(ObjectAddressInvalid, match=reason) as refused:
            parse_path(text)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "access", [Path.exists, Path.read_bytes, Path.unlink, os.fspath, os.path.realpath, open]
)
def test_the_system_never_takes_an_address_for_a_file(access, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "holidays").mkdir(parents=True)
    (tmp_path / "s3:" / "holidays" / "a.jpg").write_bytes(b"a file of that name")
    with pytest.raises(ObjectUnsupported, match=r"s3://holidays/a\.jpg is in a bucket"):
        access(parse_path("s3://holidays/a.jpg"))
