"""Packs through the API and on the page: shown before they are added, added at once or in a job, and removed after a question."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from pydantic import TypeAdapter
from starlette.testclient import TestClient
from support.browser import open_page, serving
from support.colour_folders import TaggedFolder
from support.empty_databases import empty_database
from support.job_runs import process_job
from support.page_server import client_of_page
from support.teaching import draw_place, teachable_artifact
from support.waiting import wait_until

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.teaching.learning import update_taught
from tagger.library.teaching.packs import (
    AddedPackDocument,
    PackPlanDocument,
    RemovedPackDocument,
    create_pack,
)
from tagger.library.verdicts.service import give_verdict
from tagger.web.api.packs import NewPackDocument

CHURCH, PHOTOS, NOISE = 0, 6, 0.2
WAIT_MS = 30_000
"""For what reads a pack or tags photos: five seconds are too few on a busy machine."""
BYTES = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of the church, by Ada."""
    folder = tmp_path_factory.mktemp("ada")
    with empty_database(folder) as database:
        author = TaggedFolder(database, folder, teachable_artifact)
        photos = [
            draw_place(author.folder / f"{seed}.jpg", CHURCH, seed=seed, noise=NOISE)
            for seed in range(100, 105)
        ]
        author.tag()
        with database.write() as connection:
            add_landmark(connection, NewLandmark("Our church", country="Germany"))
        for photo in photos:
            give_verdict(database, photo, "our-church", VerdictKind.CONFIRMED, "ada", {})
        update_taught(database, author.model)
        made = create_pack(database, author.model, "our-town", [], {"author": "Ada", "licence": "CC0"})
    (folder / "our-town.pack").write_bytes(made.data)
    return folder / "our-town.pack"


@pytest.fixture
def library(web_database: Database, tmp_path: Path) -> TaggedFolder:
    """Photos of the church, which nobody knows here, and of other places."""
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    for seed in range(PHOTOS):
        draw_place(library.folder / "church" / f"{seed}.jpg", CHURCH, seed=seed, noise=NOISE)
    for place in range(10, 16):
        draw_place(library.folder / "others" / f"{place}.jpg", place)
    library.tag()
    return library


@pytest.fixture
def client(library: TaggedFolder) -> Iterator[TestClient]:
    with client_of_page(library.page_settings, library.database) as client:
        yield client


def tagged(client: TestClient) -> set[str]:
    photos = client.get("/api/photos", params={"landmark": "our-church"}).json().get("photos", [])
    return {Path(photo["path"]).name for photo in photos}


ALL = {f"{number}.jpg" for number in range(PHOTOS)}


def test_the_api_plans_adds_lists_and_removes_a_pack(client: TestClient, pack: Path) -> None:
    data = pack.read_bytes()
    planned = client.post("/api/packs?dry_run=1", content=data, headers=BYTES)
    assert planned.status_code == 200
    TypeAdapter(PackPlanDocument).validate_json(planned.content)
    assert planned.json()["signature"]["state"] == "unsigned"
    assert [each["new"] for each in planned.json()["landmarks"]] == [True]
    assert client.get("/api/packs").json() == []
    added = client.post("/api/packs", content=data, headers=BYTES)
    assert added.status_code == 201
    document = TypeAdapter(NewPackDocument).validate_json(added.content)
    assert (document.compared, document.tagged, document.job) == (PHOTOS + 6, PHOTOS, None)
    assert tagged(client) == ALL
    again = client.post("/api/packs", content=data, headers=BYTES)
    assert again.status_code == 409
    assert again.json()["error"].startswith("There is a pack our-town already.")
    TypeAdapter(list[AddedPackDocument]).validate_json(client.get("/api/packs").content)
    assert client.get("/api/packs/our-town").json()["added_as"] == ["our-church"]
    kept = client.request("DELETE", "/api/packs/our-town", json={"dry_run": True})
    TypeAdapter(RemovedPackDocument).validate_json(kept.content)
    assert client.delete("/api/packs/our-town").json()["tagged"] == PHOTOS
    assert client.get("/api/packs").json() == []
    assert tagged(client) == set()
    for method in ("GET", "DELETE"):
        assert client.request(method, "/api/packs/our-town").status_code == 404


def test_a_job_compares_the_photos(client: TestClient, library: TaggedFolder, pack: Path) -> None:
    added = client.post("/api/packs?as_job=1", content=pack.read_bytes(), headers=BYTES).json()
    assert (added["compared"], added["tagged"]) == (0, 0)
    wait_until(lambda: client.get(f"/api/jobs/{added['job']}").json()["state"] == "queued")
    assert tagged(client) == set()
    process_job(library.database, library.settings, added["job"])
    assert tagged(client) == ALL


def test_what_is_no_pack_or_too_large_is_refused(library: TaggedFolder, pack: Path) -> None:
    data = pack.read_bytes()
    with client_of_page(library.page_settings, library.database) as client:
        damaged = client.post("/api/packs", files={"file": ("x.pack", data[:-1])})
        assert damaged.status_code == 400
        assert damaged.json()["error"].startswith(
            "The pack x.pack cannot be used: it is damaged, or no pack."
        )
        for files in ({}, {"file": ("x.pack.sig", b"")}):
            assert client.post("/api/packs", data={"a": "b"}, files=files).status_code in {415, 422}
        three = [("file", (f"{number}.pack", data)) for number in range(3)]
        assert client.post("/api/packs", files=three).status_code == 400
    small = library.page_settings.model_copy(update={"web_upload_bytes": 1000})
    with client_of_page(small, library.database) as client:
        for address in ("/api/packs", "/packs/preview", "/packs/add?digest=0"):
            answer = client.post(address, files={"file": ("x.pack", data)})
            assert answer.status_code == 413, address


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
def test_a_signature_is_sent_with_the_pack(
    client: TestClient, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed, key = Path(shutil.copy(pack, tmp_path)), tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    sign = ["ssh-keygen", "-Y", "sign", "-n", "tagger-pack", "-f", key, signed]
    subprocess.run(sign, check=True, capture_output=True)
    (tmp_path / "tagger.toml").touch()
    monkeypatch.setenv("TAGGER_CONFIG", str(tmp_path / "tagger.toml"))
    (tmp_path / "allowed_signers").write_text(f"ada@example.org {key.with_suffix('.pub').read_text()}")
    signature = ("our-town.pack.sig", tmp_path.joinpath("our-town.pack.sig").read_bytes())
    files = {"file": (signed.name, signed.read_bytes()), "signature": signature}
    planned = client.post("/api/packs?dry_run=1", files=files).json()
    assert planned["signature"]["signer"] == "ada@example.org"
    assert "This pack is signed by ada@example.org." in client.post("/packs/preview", files=files).text
    forged = {**files, "file": (signed.name, signed.read_bytes().replace(b"Ada", b"Eve"))}
    refused = client.post("/packs/preview", files=forged)
    assert refused.status_code == 422
    assert "its signature is not one of this file" in refused.text


def test_only_the_pack_that_was_shown_is_added(client: TestClient, pack: Path) -> None:
    answer = client.post(f"/packs/add?digest={'0' * 64}", files={"file": (pack.name, pack.read_bytes())})
    assert answer.status_code == 422
    assert "This is not the pack that was shown." in answer.text
    assert client.get("/api/packs").json() == []


def test_a_pack_is_shown_added_and_removed_on_the_page(
    browser: Browser, library: TaggedFolder, pack: Path
) -> None:
    with serving(library.page_settings) as url, open_page(browser, url, base=url) as page:
        page.goto("/jobs")
        page.get_by_role("button", name="Settings").click()
        page.locator(".settings summary").click()
        page.get_by_role("link", name="Packs").click()
        expect(page.get_by_text("No pack was added yet.")).to_be_visible()
        page.wait_for_load_state()  # htmx listens from then on
        file, shown = page.get_by_label("The pack, and its signature"), page.locator("#shown")
        file.set_input_files({"name": "x.pack", "mimeType": "application/octet-stream", "buffer": b"no pack"})
        expect(shown).to_contain_text("it is damaged, or no pack", timeout=WAIT_MS)
        file.set_input_files(pack)
        for text in ("Ada", "CC0", "Nobody has signed this pack.", "Our church", "Germany", "new"):
            expect(shown).to_contain_text(text, timeout=WAIT_MS)
        page.get_by_role("button", name="Add our-town").click()
        added = page.locator("#our-town")
        expect(added).to_contain_text(f"{PHOTOS} photos tagged", timeout=WAIT_MS)
        added.get_by_text("Remove").first.click()
        page.get_by_role("button", name="Remove the pack our-town").click()
        expect(page.get_by_text("No pack was added yet.")).to_be_visible(timeout=WAIT_MS)
