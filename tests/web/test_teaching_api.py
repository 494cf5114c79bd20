"""Teaching through the API: verdicts are learned in the background, photos are compared by embeddings."""

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient
from support.colour_folders import TaggedFolder
from support.page_server import client_of_page
from support.teaching import draw_place, teachable_artifact
from support.threads import wait_until

from tagger.web import state as server_state
from tagger.web.state import TaughtUpdates

CHURCH, PHOTOS = 0, 6


class Page:
    """A library in which no place is taught, and a client of a server for it."""

    def __init__(self, library: TaggedFolder, client: TestClient) -> None:
        self.library = library
        self.client = client

    def church(self, *numbers: int) -> list[int]:
        return [self.library.photo(f"church/{number}.jpg").id for number in numbers]

    def teach(self, confirmed: Sequence[int], rejected: Sequence[int] = ()) -> Any:
        """Give these verdicts on the church, and return the answer to teaching it."""
        for verdict, photos in (("confirmed", confirmed), ("rejected", rejected)):
            body = {"verdict": verdict, "landmark": "our-church", "photos": list(photos)}
            assert self.client.post("/api/verdicts", json=body).status_code == 200
        return self.client.post("/api/landmarks/our-church/teach").json()

    def tagged(self, landmark: str = "our-church") -> set[str]:
        photos = self.client.get("/api/photos", params={"landmark": landmark}).json()["photos"]
        return {Path(photo["path"]).name for photo in photos}


@pytest.fixture
def page(web_database, tmp_path) -> Iterator[Page]:
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    for seed in range(PHOTOS):
        draw_place(library.folder / "church" / f"{seed}.jpg", CHURCH, seed=seed)
    for place in range(10, 16):
        draw_place(library.folder / "others" / f"{place}.jpg", place)
    library.tag()
    with client_of_page(library.page_settings, web_database) as client:
        assert client.post("/api/landmarks", json={"name": "Our church"}).status_code == 201
        yield Page(library, client)


ALL = {f"{number}.jpg" for number in range(PHOTOS)}


def test_verdicts_are_learned_in_the_background(page):
    body = {"verdict": "confirmed", "landmark": "our-church", "photos": page.church(0, 1)}
    assert len(page.client.post("/api/verdicts", json=body).json()["photos"]) == 2
    wait_until(lambda: page.tagged() == ALL)
    (number,) = page.church(2)
    verdict = {"photos": [number], "verdict": "rejected", "landmark": "our-church"}
    page.client.post("/api/verdicts", json=verdict)
    assert page.tagged() == ALL - {"2.jpg"}
    page.client.request("DELETE", "/api/verdicts", json=body)
    wait_until(lambda: page.tagged() == set())
    page.client.post("/api/verdicts", json=body | {"photos": page.church(0)})
    wait_until(lambda: page.tagged() == ALL - {"2.jpg"})


def test_a_merge_is_learned_in_the_background(page):
    page.teach(page.church(0, 1))
    assert page.tagged() == ALL
    form = {"into": "our-church", "is_confirmed": "true"}
    page.client.post("/places/merge/nameless-hill", data=form)
    wait_until(lambda: page.tagged() == {"0.jpg", "1.jpg"})  # the model missed only two


def test_several_verdicts_in_a_row_are_one_more_update(page, monkeypatch):
    started, released, calls = threading.Event(), threading.Event(), list[int]()

    def update(*_values: object, **_options: object) -> int:
        calls.append(1)
        started.set()
        assert released.wait(30)
        return 0

    monkeypatch.setattr(server_state, "update_taught", update)
    updates = TaughtUpdates(page.library.database, lambda: [page.library.model], threading.Event())
    updates.request()
    assert started.wait(30)
    for _ in range(5):
        updates.request()
    released.set()
    wait_until(lambda: len(calls) == 2)
    updates.close()
    updates.request()
    assert len(calls) == 2


def test_a_failed_update_is_logged_once_and_tried_again_without_a_request(page, monkeypatch, caplog):
    monkeypatch.setattr(server_state, "RETRY_S", 0.01)
    calls = list[int]()

    def update(*_values: object, **_options: object) -> int:
        calls.append(1)
        if len(calls) < 3:
            raise OperationalError("SELECT 1", None, Exception("the server is away"))
        return 0

    monkeypatch.setattr(server_state, "update_taught", update)
    updates = TaughtUpdates(page.library.database, lambda: [page.library.model], threading.Event())
    with caplog.at_level(logging.ERROR):
        updates.request()
        wait_until(lambda: len(calls) == 3)
        updates.close()
    assert len(calls) == 3, "it succeeded"
    records = [record for record in caplog.records if "taught landmarks" in record.getMessage()]
    assert len(records) == 1
    assert "the database failed (OperationalError)" in records[0].getMessage()
    assert "SELECT" not in caplog.text


def test_what_a_taught_landmark_does_to_others_is_told(page):
    for shade in range(3):
        page.library.draw(f"wall-{shade}.jpg", shade=shade)
    page.library.tag()
    answer = page.teach([page.library.photo("wall-0.jpg").id])
    eiffel = {"landmark": "eiffel-tower", "name": "Eiffel Tower"}
    assert (answer["doubtful"], answer["kept"]) == ([eiffel | {"photos": 1}], [eiffel | {"photos": 2}])
    assert page.tagged() == {"wall-0.jpg"}
    assert page.tagged("eiffel-tower") == {"wall-1.jpg", "wall-2.jpg"}
    text = page.client.get("/landmarks/our-church").text
    assert "Doubtful because of it: Eiffel Tower (1)." in text
    assert "Kept, because the model is nearly certain: Eiffel Tower (2)." in text
