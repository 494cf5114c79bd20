"""A bucket is tagged, searched and watched like a folder, and never written."""

import os
import shutil
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Iterator
from email.utils import formatdate
from hmac import digest
from subprocess import DEVNULL, Popen

import httpx2 as httpx
import pytest
from rig.servers import free_port
from rig.xmp_packets import packet_of, xmp_list
from sqlalchemy import insert
from support.buckets import SECRET
from support.command_line import environment_of
from support.commands import Terminal, draw
from support.threads import wait_until

from tagger.cli.program import close_sessions, open_session
from tagger.database.tables import roots
from tagger.errors import BucketUnavailable
from tagger.photos.object_store import open_store
from tagger.photos.paths import ObjectPath

SIDECAR = packet_of(xmp_list("dc:subject", "holiday"))


@pytest.fixture
def terminal(tmp_path, bucket) -> Terminal:
    for number, name in enumerate(("trip/tower.jpg", "trip/gate.jpg", "grey.jpg")):
        bucket.put(name, draw(tmp_path / name, number if number < 2 else None))
    return Terminal(tmp_path / "terminal", bucket.environment())


def test_a_bucket_is_tagged_and_searched_like_a_folder(terminal, bucket):
    tower, gate = (f"{bucket.address}/trip/{name}.jpg" for name in ("tower", "gate"))
    planned = terminal.run("tag", "--dry-run", f"{bucket.address}/trip", f"{bucket.address}/grey.jpg")
    assert "3 photos would be classified" in planned.stdout
    (predicted,) = terminal.json("predict", gate)
    assert (predicted["path"], predicted["tags"][0]["landmark"]) == (gate, "brandenburg-gate")
    done = terminal.run("tag", bucket.address)
    assert f"{tower}: Eiffel Tower " in done.stdout
    assert "3 photos: 2 tagged, 1 unknown" in done.stderr
    assert "3 skipped" in terminal.run("tag", f"{bucket.address}/").stderr
    photos = terminal.json("query", "--under", f"{bucket.address}/trip")
    assert [photo["path"] for photo in photos] == [gate, tower]
    assert terminal.json("show", tower)["tags"][0]["landmark"] == "eiffel-tower"
    terminal.run("confirm", "eiffel tower", tower)
    with sqlite3.connect(terminal.data / "tagger.sqlite") as connection:
        dump = "\n".join(connection.iterdump())
    assert (bucket.address in dump, SECRET in dump, "reader" in dump) == (True, False, False)
    for name in [name for name in terminal.environment if "ENDPOINT" in name]:
        del terminal.environment[name]  # AWS is not asked for a bucket of another server
    refused = terminal.run("backfill", "untagged", "--scan", bucket.address, code=1)
    assert f"it was found at {bucket.proxy.url}" in refused.stderr
    assert terminal.json("forget", f"{bucket.address}/trip")["forgotten"] == 2


def test_a_bucket_that_refuses_ends_the_command_with_the_reason(terminal, bucket):
    invalid = terminal.run("tag", f"s3://AKIA:{SECRET}@photos/x", code=1).stderr
    assert ("write it as s3://BUCKET/PREFIX" in invalid, SECRET in invalid) == (True, False)
    terminal.run("tag", bucket.address)
    with bucket.proxy.refusing(403, "InvalidAccessKeyId"):
        for arguments in (("tag", bucket.address), ("-vv", "tag", f"{bucket.address}/trip")):
            refused = terminal.run(*arguments, code=1)
            assert "the server refuses access" in refused.stderr
            assert "No photo was marked as gone" in refused.stderr
            assert SECRET not in refused.stderr
            assert "reader" not in refused.stderr
    assert len(terminal.json("query", "--any-rank")) == 3


def test_metadata_of_objects_is_shown_and_never_written(terminal, bucket):
    tower = f"{bucket.address}/trip/tower.jpg"
    for write in (
        ("tag", "--write", "sidecar"),
        ("enqueue", "--write", "embed"),
        ("tag", "--dry-run", "--write", "embed"),
    ):
        refused = terminal.run(*write, bucket.address, code=1).stderr
        assert f"{bucket.address} is in a bucket, and this works with files and folders only" in refused
    bucket.put("trip/tower.jpg.xmp", SIDECAR)
    terminal.run("tag", bucket.address)
    shown = terminal.run("metadata", "show", tower).stdout
    assert "XMP:dc:subject" in shown
    assert "holiday" in shown
    assert terminal.json("metadata", "show", f"{tower}.xmp")["sidecars"][0]["path"] == f"{tower}.xmp"
    for to in ("sidecar", "embed"):
        written = terminal.run("metadata", "write", "--to", to, code=3)
        assert "2 refused" in written.stderr
        preview = terminal.run("metadata", "write", "--to", to, "--dry-run").stdout
        assert "Buckets are only read. To write tags, copy the photos to a folder." in preview
    for name in (tower, f"{tower}.xmp"):
        refused = terminal.run("metadata", "undo", name, code=1).stderr
        assert f"{name} is in a bucket, and this works with files and folders only" in refused
    assert bucket.proxy.count("PUT") == bucket.proxy.count("DELETE") == 0
    missing = terminal.run("metadata", "show", f"{bucket.address}/none.jpg.xmp", code=1)
    assert "There is no file or folder at" in missing.stderr
    with bucket.proxy.refusing(403, "InvalidAccessKeyId"):
        refused = terminal.run("metadata", "show", f"{bucket.address}/none.jpg", code=1)
    assert "the server refuses access" in refused.stderr


def test_a_bucket_is_not_asked_for_while_the_servers_cannot_be_read(sqlite_database, monkeypatch):
    """This process would ask AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    address, server = "s3://only-in-this-test/photos", "http://127.0.0.1:1"
    with sqlite_database.write() as connection:
        values = {"name": "photos", "location": address, "location_bytes": b"", "endpoint": server}
        connection.execute(insert(roots).values(values))
        connection.exec_driver_sql("ALTER TABLE roots RENAME TO roots_away")
    open_session()
    with pytest.raises(Exception, match="no such table"):
        open_store(ObjectPath(f"{address}/tower.jpg"))
    with sqlite_database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE roots_away RENAME TO roots")
    with pytest.raises(BucketUnavailable, match=server):
        open_store(ObjectPath(f"{address}/tower.jpg"))
    close_sessions()


ACCOUNT = "devstoreaccount1"
# Every Azurite's.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ACCESS = {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURE_STORAGE_ACCOUNT_KEY": KEY}


@pytest.fixture
def blob_terminal(tmp_path) -> Iterator[Terminal]:
    port = free_port()
    options = ["--blobPort", str(port), "--location", str(tmp_path), "--skipApiVersionCheck", "--silent"]
    with Popen(["azurite-blob", *options], stdout=DEVNULL) as azurite:
        try:
            wait_until(lambda: _create_container(f"http://127.0.0.1:{port}/{ACCOUNT}/photos"))
            url = {"AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}"}
            yield Terminal(tmp_path / "terminal", ACCESS | url)
        finally:
            azurite.kill()


def _create_container(url: str) -> bool:
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
    signed = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/photos", "restype:container"])
    mac = b64encode(digest(b64decode(KEY), signed.encode(), "sha256")).decode()
    headers["authorization"] = f"SharedKey {ACCOUNT}:{mac}"
    try:
        return httpx.put(url, params={"restype": "container"}, headers=headers).status_code == 201
    except httpx.ConnectError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("azurite-blob") is None, reason="azurite-blob is not installed")
def test_blobs_are_tagged_and_not_written(blob_terminal, tmp_path):
    with environment_of(blob_terminal.environment):
        store = open_store(ObjectPath("az://photos"))
        store.put("trip/tower.jpg", draw(tmp_path / "tower.jpg", 0).read_bytes())
    assert "1 tagged" in blob_terminal.run("tag", "az://photos").stderr
    assert "1 refused" in blob_terminal.run("metadata", "write", "--to", "sidecar", code=3).stderr
    assert [meta["path"] for page in store.list() for meta in page] == ["trip/tower.jpg"]
    assert "there is no such bucket" in blob_terminal.run("tag", "az://none", code=1).stderr
