"""Commands with addresses in buckets, as a user types them, against a real S3 server."""

import sqlite3
from pathlib import Path

import pytest
from support.buckets import SECRET, Bucket
from support.commands import Terminal, draw
from support.servers import RedisServer

UNWRITABLE = "is in a bucket, where metadata cannot be written yet"


@pytest.fixture
def terminal(tmp_path: Path, bucket: Bucket) -> Terminal:
    for number, name in enumerate(("trip/tower.jpg", "trip/gate.jpg", "grey.jpg")):
        bucket.put(name, draw(tmp_path / name, number if number < 2 else None))
    return Terminal(tmp_path / "terminal", bucket.environment())


def test_a_bucket_is_tagged_and_searched_like_a_folder(terminal: Terminal, bucket: Bucket) -> None:
    done = terminal.run("tag", bucket.address)
    assert f"{bucket.address}/trip/tower.jpg: Eiffel Tower " in done.stdout
    assert "3 photos: 2 tagged, 1 unknown" in done.stderr
    assert "3 skipped" in terminal.run("tag", f"{bucket.address}/").stderr
    photos = terminal.json("query", "--under", f"{bucket.address}/trip")
    assert [photo["path"] for photo in photos] == [
        f"{bucket.address}/trip/gate.jpg",
        f"{bucket.address}/trip/tower.jpg",
    ]
    assert terminal.json("show", f"{bucket.address}/trip/tower.jpg")["tags"][0]["landmark"] == "eiffel-tower"
    terminal.run("confirm", f"{bucket.address}/trip/tower.jpg", "eiffel tower")
    assert terminal.json("forget", f"{bucket.address}/trip")["forgotten"] == 2
    assert terminal.json("query", "--untagged") == []


def test_a_dry_run_names_an_object_and_a_prefix(terminal: Terminal, bucket: Bucket) -> None:
    arguments = (f"{bucket.address}/trip", f"{bucket.address}/grey.jpg")
    assert "3 photos would be classified" in terminal.run("tag", "--dry-run", *arguments).stdout


def test_an_object_is_predicted_without_being_stored(terminal: Terminal, bucket: Bucket) -> None:
    (document,) = terminal.json("predict", f"{bucket.address}/trip/gate.jpg")
    assert document["path"] == f"{bucket.address}/trip/gate.jpg"
    assert document["tags"][0]["landmark"] == "brandenburg-gate"


def test_workers_tag_a_bucket(terminal: Terminal, bucket: Bucket, redis_server: RedisServer) -> None:
    terminal.environment["TAGGER_REDIS_URL"] = redis_server.url
    with terminal.workers():
        done = terminal.run("enqueue", "--wait", bucket.address)
    assert "3 photos: 2 tagged, 1 unknown" in done.stderr
    assert SECRET not in terminal.log.read_text()
    bucket.delete("grey.jpg")
    bucket.put("new.jpg", b"\xff\xd8\xff no picture")
    backfill = terminal.run("backfill", "untagged", "--scan", bucket.address)
    assert "1 photo" in backfill.stderr


def test_the_endpoint_is_an_option_and_a_setting(terminal: Terminal, bucket: Bucket) -> None:
    del terminal.environment["AWS_ENDPOINT_URL_S3"]
    assert "3 photos" in terminal.run("tag", "--endpoint", bucket.proxy.url, bucket.address).stderr
    terminal.environment["TAGGER_S3_ENDPOINT_URL"] = bucket.proxy.url
    assert "3 skipped" in terminal.run("tag", bucket.address).stderr


@pytest.mark.parametrize("url", [f"http://reader:{SECRET}@127.0.0.1", "127.0.0.1:9000", "ftp://host"])
def test_an_endpoint_with_a_password_is_refused_without_naming_it(
    terminal: Terminal, bucket: Bucket, url: str
) -> None:
    refused = terminal.run("tag", "--endpoint", url, bucket.address, code=1)
    assert "without user and password" in refused.stderr
    assert SECRET not in refused.stderr


def test_a_bucket_that_refuses_ends_the_command_with_the_reason(terminal: Terminal, bucket: Bucket) -> None:
    terminal.run("tag", bucket.address)
    with bucket.proxy.refusing(403, "InvalidAccessKeyId"):
        for arguments in (("tag", bucket.address), ("-vv", "tag", f"{bucket.address}/trip")):
            refused = terminal.run(*arguments, code=1)
            assert "the server refuses access" in refused.stderr
            assert "No photo was marked as gone" in refused.stderr
            assert SECRET not in refused.stderr
            assert "reader" not in refused.stderr
        assert "the server refuses access" in terminal.run("doctor", code=1).stdout
    assert len(terminal.json("query", "--any-rank")) == 3


def test_credentials_are_not_stored(terminal: Terminal, bucket: Bucket) -> None:
    terminal.run("tag", bucket.address)
    with sqlite3.connect(terminal.data / "tagger.sqlite") as connection:
        dump = "\n".join(connection.iterdump())
    assert bucket.address in dump
    assert SECRET not in dump
    assert "reader" not in dump


def test_metadata_in_buckets_is_refused(terminal: Terminal, bucket: Bucket) -> None:
    for target in ("sidecar", "embed"):
        refused = terminal.run("tag", "--write", target, bucket.address, code=1)
        assert UNWRITABLE in refused.stderr
    terminal.run("tag", bucket.address)
    written = terminal.run("metadata", "write", "--to", "sidecar")
    assert "2 refused" in written.stderr
    assert "in a bucket" in terminal.run("metadata", "write", "--to", "sidecar", "--dry-run").stdout
    assert (
        "works with files and folders only"
        in terminal.run("metadata", "show", f"{bucket.address}/grey.jpg", code=1).stderr
    )
    assert bucket.proxy.count("PUT") == 0


def test_what_is_no_address_is_refused(terminal: Terminal) -> None:
    refused = terminal.run("tag", f"s3://AKIA:{SECRET}@photos/x", code=1)
    assert "is not like s3://BUCKET/PREFIX" in refused.stderr
    assert SECRET not in refused.stderr
