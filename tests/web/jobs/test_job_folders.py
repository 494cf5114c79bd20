"""Folders in which the page may start jobs: no path and no key leads outside, and any name works."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.commands import draw_many
from support.page_server import JobClient

from tagger.web.api.folders import AllowedFolders, FolderRefused, folder_key


def tricks(inside: Path, outside: Path) -> list[str]:
    (inside / "link").symlink_to(outside)
    (inside / "to-link").symlink_to("link")
    (inside / "circle").symlink_to("circle")
    return [
        str(outside),
        "/",
        "/etc",
        "",
        ".",
        "photos",
        "~",
        f"{inside}/..",
        f"{inside}/../{outside.name}",
        f"{inside}/a/../../{outside.name}",
        f"{inside}/link",
        f"{inside}/to-link/deeper",
        f"{inside}/circle",
        f"{inside}-beside",
        f"{inside}\0/x",
        f"//{outside}",
        "/proc/self/cwd",
        f"file://{inside}",
        "x" * 5000,
    ]


def test_no_path_and_no_key_leads_to_a_folder_outside(
    client: TestClient, tmp_path: Path, folder: Path
) -> None:
    outside, inside = tmp_path / "outside", folder
    draw_many(outside, 1)
    draw_many(outside / "deeper", 1)
    draw_many(tmp_path / "photos-beside", 1)
    for trick in tricks(inside, outside):
        key = {"key": folder_key(Path(trick))}
        for address, sent in (
            ("/api/jobs", {"paths": [str(inside), trick]}),
            ("/api/backfills", {"what": "all", "scan": [trick]}),
            *(
                (("/api/jobs", {"paths": [key]}), ("/api/backfills", {"what": "all", "under": [key]}))
                if trick
                else ()
            ),
        ):
            response = client.post(address, json=sent)
            assert response.status_code in {400, 403, 422}, (trick, address, response.text)
            assert str(outside) not in response.text
        page = client.get("/jobs/new", params={"folder": key["key"]} if trick else {})
        assert page.status_code == (403 if trick else 200), trick
    assert client.get("/api/status").json()["jobs"] == []


def test_an_invalid_key_is_refused(client: TestClient) -> None:
    for key in ("%%%", "====", "_", "a" * 8193, "\N{SNOWMAN}"):
        assert client.get("/jobs/new", params={"folder": key}).status_code in {403, 414, 422}
    assert client.post("/api/jobs", json={"paths": [{"key": "%%%"}]}).status_code == 403


def test_files_and_missing_folders_are_refused(jobs: JobClient, folder: Path) -> None:
    draw_many(folder, 1)
    jobs.start(folder / "00/00000.jpg", status=404)
    jobs.start(folder / "nowhere", status=404)


def test_the_roots_of_the_database_are_allowed_without_the_setting(
    client: TestClient, library_folder: Path, jobs: JobClient
) -> None:
    jobs.start(library_folder, status=403)
    state = client.app.state.app_state  # type: ignore[attr-defined]
    state.settings = state.settings.model_copy(update={"web_folders": None})
    jobs.start(library_folder)
    jobs.start(library_folder.parent, status=403)


def test_a_folder_that_became_a_link_meanwhile_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    allowed = AllowedFolders((tmp_path / "in",), is_set=True)

    class Swapped(AllowedFolders):
        def check(self, folder: Any) -> Path:
            return Path(folder)  # as it was before the swap

    with pytest.raises(FolderRefused):
        Swapped(allowed.folders, is_set=True).selection([tmp_path / "in/link"])


def test_a_folder_whose_name_is_not_utf8_is_named_by_its_key(client: TestClient, folder: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 <b>"))
    draw_many(odd / "inner", 3)
    page = client.get("/jobs/new").text
    assert folder_key(odd) in page
    assert "<b>" not in page
    assert client.get("/jobs/new", params={"folder": folder_key(odd)}).status_code == 200
    named = {"key": folder_key(odd)}
    as_text = client.post(
        "/api/jobs", content=json.dumps({"paths": [str(odd)]}), headers={"content-type": "application/json"}
    )
    assert as_text.status_code == 422
    assert client.post("/api/jobs", json={"paths": [named]}).json()["total"] == 3
    scanned = client.post("/api/backfills", json={"what": "all", "scan": [named], "under": [named]})
    assert scanned.json()["total"] == 3
