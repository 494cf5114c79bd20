"""Commands with blobs of Azure, against Azurite, Microsoft's test server (`npm install --global azurite`)."""

import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator
from email.utils import formatdate
from hmac import digest
from pathlib import Path
from subprocess import DEVNULL, Popen

import httpx2 as httpx
import pytest
from rig.servers import free_port
from support.command_line import environment_of
from support.commands import Terminal, draw
from support.threads import wait_until

from tagger.photos.object_store import open_store
from tagger.photos.paths import ObjectPath

ACCOUNT = "devstoreaccount1"
# Every Azurite's.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ACCESS = {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURE_STORAGE_ACCOUNT_KEY": KEY}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
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
def test_blobs_are_tagged_and_not_written(terminal: Terminal, tmp_path: Path) -> None:
    with environment_of(terminal.environment):
        store = open_store(ObjectPath("az://photos"))
        store.put("trip/tower.jpg", draw(tmp_path / "tower.jpg", 0).read_bytes())
    assert "1 tagged" in terminal.run("tag", "az://photos").stderr
    assert "1 refused" in terminal.run("metadata", "write", "--to", "sidecar", code=3).stderr
    assert [meta["path"] for page in store.list() for meta in page] == ["trip/tower.jpg"]
    assert "there is no such bucket" in terminal.run("tag", "az://none", code=1).stderr
