"""Writing metadata from the page, and undoing it: after a preview, by a job, only where allowed."""

import re

import pytest
from playwright.sync_api import Route, expect
from starlette.testclient import TestClient
from support.browser import PHONE, axe_findings, open_page
from support.job_runs import process_job
from support.library_photos import EIFFEL, VERSAILLES, LibraryPhotos, picture
from support.page_server import change_settings

from tagger.database import VerdictKind
from tagger.settings import Settings
from tagger.verdicts import give_verdicts

# The sidecar of another program.
RATED = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def web_settings(web_settings) -> Settings:
    return web_settings.model_copy(update={"web_write": "sidecar"})


@pytest.fixture
def library(library) -> LibraryPhotos:
    library.file("a.jpg", (EIFFEL, 0.9, True))
    library.file("b.jpg", (VERSAILLES, 0.9, True), data=picture((60, 60, 200)))
    library.file("c.jpg", (EIFFEL, 0.2, False), data=picture((60, 200, 60)))
    return library


def start(client: TestClient, library: LibraryPhotos, **fields: str | list[str]) -> int:
    """Confirm a preview, and run the job as a worker does."""
    started = client.post("/photos/metadata", data={"is_confirmed": "true", **fields})
    assert started.status_code == 303, started.text
    job = int(started.headers["location"].rsplit("/", 1)[1])
    process_job(library.database, client.app.state.app_state.settings, job)
    return job


def test_a_preview_shows_files_and_values_and_changes_nothing(client, library):
    files = sorted(library.root.iterdir())
    button = (
        client.get("/photos/1/details").text.partition('action="/photos/metadata"')[2].partition("</form>")[0]
    )
    assert 'name="photo" value="1"' in button
    assert "Write tags…" in button
    page = client.post("/photos/metadata", data={"photo": ["1", "2"]}).text
    for text in ("a.jpg.xmp", "b.jpg.xmp", "Eiffel Tower", "new", "Write 2 photos", str(library.root.name)):
        assert text in page
    assert '<span class="soft">keywords:</span> Eiffel Tower · Places/France/Paris/Eiffel Tower<' in page
    assert '<span class="soft">place:</span> Eiffel Tower, Paris, France<' in page
    assert "XMP:" not in re.sub('title="[^"]*"', "", page)
    assert 'value="embed"' not in page
    assert sorted(library.root.iterdir()) == files
    assert client.get("/jobs/1").status_code == 404


def test_what_is_written_is_undone_byte_for_byte(client, library):
    before = {file.name: file.read_bytes() for file in library.root.iterdir()}
    assert "data-may-undo" not in client.get("/photos?any_rank=1").text
    start(client, library, photo=["1", "2"], to="sidecar")
    assert "data-may-undo" in client.get("/photos?any_rank=1").text
    written = {file.name: file.read_bytes() for file in library.root.iterdir()}
    assert written.keys() - before.keys() == {"a.jpg.xmp", "b.jpg.xmp"}
    assert b"Eiffel Tower" in written["a.jpg.xmp"]
    page = client.get("/photos/1/details").text
    assert "a.jpg.xmp" in page
    assert "Undo…" in page
    preview = client.post("/photos/metadata", data={"photo": ["1", "2", "3"], "action": "undo"}).text
    assert "Undo 2 photos" in preview
    assert "removed" in preview
    start(client, library, photo=["1"], action="undo")
    start(client, library, photo=["2", "3"], action="undo")
    assert {file.name: file.read_bytes() for file in library.root.iterdir()} == before


def test_each_choice_shows_its_preview_before_it_is_written_also_while_the_page_loads(
    browser, address, client, library
):
    held: list[Route] = []
    with open_page(browser, f"{address}/photos/1", screen=PHONE) as page:
        page.route("**/forms.js*", lambda route: held.append(route))  # noqa: PLW0108 - playwright takes no built-in
        page.keyboard.press("i")
        page.get_by_role("button", name="Write tags…").click()
        preview, choice = page.locator("#preview"), page.get_by_label("A description")
        expect(preview).not_to_contain_text("description:")
        choice.focus()
        page.keyboard.press("Space")
        (script,) = held
        script.continue_()
        expect(preview).to_contain_text("description:")
        expect(choice).to_be_focused()
        assert axe_findings(page) == []
        page.get_by_role("button", name="Write 1 photo").click()
        page.wait_for_url("**/jobs/1")


def test_a_sidecar_that_is_out_of_date_is_written_anew(client, library):
    """Compared with what its own options would write, with which writing it anew begins."""
    sidecar = library.root / "a.jpg.xmp"
    options = {"photo": ["1"], "to": "sidecar", "gps": "true", "description": "true"}
    start(client, library, **options)
    assert b"GPSLatitude" in sidecar.read_bytes()
    assert "out of date" not in client.get("/photos/1/details").text
    give_verdicts(library.database, [1], VERSAILLES, VerdictKind.CONFIRMED, "ada", {})
    page = client.get("/photos/1/details").text
    assert "sidecar out of date" in page
    assert "Write the sidecar anew" in page
    for name in ("gps", "description"):
        assert f'<input type="hidden" name="{name}" value="true">' in page
    start(client, library, **options)
    assert "out of date" not in client.get("/photos/1/details").text
    assert b"Versailles" in sidecar.read_bytes()


def test_a_job_is_undone_after_a_preview_in_plain_words(client, library):
    start(client, library, photo=["2"], to="sidecar")
    (library.root / "a.jpg.xmp").write_bytes(RATED)
    before = {file.name: file.read_bytes() for file in library.root.iterdir()}
    job = start(client, library, photo=["1", "3"], to="sidecar", gps="true")
    assert b"GPSLatitude" in (library.root / "a.jpg.xmp").read_bytes()
    assert f'action="/jobs/{job}/undo"' in client.get(f"/jobs/{job}").text
    written = {file.name: file.read_bytes() for file in library.root.iterdir()}
    preview = client.post(f"/jobs/{job}/undo").text
    summary, _, files = preview.rpartition("<details")
    for words in ("1 photo gets its former metadata back", "keywords, place and position", "Undo 1 photo"):
        assert words in summary, words
    assert "1 sidecar that was there before stays" in summary
    assert "XMP:" not in summary
    assert "a.jpg.xmp" in files
    counts = {"photos": 1, "embedded": 0, "sidecars": 1, "new_sidecars": 0}
    planned = client.post(f"/api/jobs/{job}/undo", json={"dry_run": True}).json()
    fields = ["keywords", "place", "position"]
    assert planned == {**counts, "job": None, "fields": fields, "dry_run": True}
    assert {file.name: file.read_bytes() for file in library.root.iterdir()} == written
    started = client.post(f"/jobs/{job}/undo", data={"is_confirmed": "true"})
    undo = int(started.headers["location"].rsplit("/", 1)[1])
    process_job(library.database, client.app.state.app_state.settings, undo)
    assert {file.name: file.read_bytes() for file in library.root.iterdir()} == before
    undone = client.get(f"/jobs/{undo}").text
    assert f"what job {job} wrote" in undone
    assert "<dt>undone</dt>" in undone
    assert "1 photo: 1 undone" in client.get("/jobs").text
    assert "/undo" not in client.get(f"/jobs/{job}").text
    for each in (job, undo):
        assert "Nothing of this job is left to undo" in client.post(f"/jobs/{each}/undo").text
    assert client.post(f"/api/jobs/{job}/undo").json()["photos"] == 0
    assert "1 sidecar that the job made is removed" in client.post("/jobs/1/undo").text
    assert client.post("/api/jobs/1/undo").json()["job"] == undo + 1


def test_nothing_is_written_without_permission(client, library, tmp_path):
    embed = client.post("/photos/metadata", data={"photo": "1", "to": "embed", "is_confirmed": "true"})
    assert embed.status_code == 403
    assert "TAGGER_WEB_WRITE=embed" in embed.text
    for fields in (
        {},
        {"photo": "0"},
        {"photo": "x"},
        {"photo": "1", "to": "printer"},
        {"photo": "1", "more": "1"},
    ):
        invalid = client.post("/photos/metadata", data={"is_confirmed": "true", **fields})
        assert invalid.status_code == 422, fields
    job = start(client, library, photo=["2"], to="sidecar")
    (tmp_path / "other").mkdir()
    for changes, action in (
        ({"web_folders": [tmp_path / "other"]}, "write"),
        ({"web_folders": None, "web_write": "none"}, "write"),
        ({"web_folders": None, "web_write": "none"}, "undo"),
    ):
        change_settings(client, **changes)
        form = {"photo": "1", "action": action, "is_confirmed": "true"}
        assert client.post("/photos/metadata", data=form).status_code == 403
        assert client.post(f"/api/jobs/{job}/undo").status_code == 403
        assert client.post(f"/jobs/{job}/undo").status_code == 403
    assert "Write tags" not in client.get("/photos/1/details").text
    assert "/undo" not in client.get(f"/jobs/{job}").text
    assert client.get(f"/jobs/{job + 1}").status_code == 404
    assert [file.name for file in library.root.glob("*.xmp")] == ["b.jpg.xmp"]
