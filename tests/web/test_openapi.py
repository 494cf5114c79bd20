"""What /api/openapi.json says of answers is what answers are."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos
from support.page_server import photo
from support.trip_photos import TRIP, add_trip

from tagger.cli.output.formats import Format, write_documents
from tagger.database.connection import Database
from tagger.jobs.enqueue.documents import ScheduleDocument
from tagger.jobs.enqueue.schedule_runs import ScheduleRun
from tagger.library.query.details import PhotoDetailsDocument
from tagger.library.query.documents import (
    EditedLandmarkDocument,
    LandmarkDocument,
    MergedLandmarkDocument,
    ModelDocument,
    PositionCellDocument,
    RemovedLandmarkDocument,
)
from tagger.library.query.trip_summaries import TripDocument
from tagger.library.shares.documents import ShareDocument
from tagger.library.verdicts import VerdictFilter, list_verdicts
from tagger.library.verdicts.documents import (
    VERDICT_COLUMNS,
    QueryVerdictDocument,
    VerdictResultDocument,
    WithdrawnVerdicts,
)
from tagger.settings import Settings
from tagger.web.api.audit import AuditPage
from tagger.web.api.jobs import CountedBackfill, FailurePage, Job, NothingToRetry, OverviewDocument
from tagger.web.api.landmarks import Place
from tagger.web.api.object_events import AcceptedEvents
from tagger.web.api.photos import PhotoNeighbours, PhotoPage
from tagger.web.api.predict import FailedUpload, UploadPrediction
from tagger.web.api.routes import Problem
from tagger.web.api.search import SearchResult
from tagger.web.api.shares import NewShareDocument
from tagger.web.api.verdicts import PhotosVerdictDocument, VerdictPage

STREAMS = ("csv", "ndjson", "geojson", "image", "preview", "thumbnail", "events")


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    taken_at = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - cameras know no time zone
    library.file(b"caf\xe9.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), taken_at=taken_at)
    library.file("other.jpg", (GATE, 0.2, False), data=photo(1, kind="JPEG"))
    library.photo("new.jpg", classified=False)
    add_trip(library)
    library.position(
        "other.jpg", 48.8584, 2.2945, "France", "landmark", landmark=library.landmark_ids[EIFFEL]
    )
    return library


WORD = {"landmark": EIFFEL, "verdict": "confirmed"}
NIGHTLY = {"name": "nightly", "cron": "0 3 * * *", "what": "untagged"}

Asking = Callable[[TestClient, LibraryPhotos], Any]
ANSWERS: dict[str, tuple[Any, Asking]] = {
    "photos": (PhotoPage, lambda client, _: client.get("/api/photos?any_rank=1&limit=1")),
    "photos around one": (
        PhotoNeighbours,
        lambda client, _: client.get("/api/photos/2/neighbours?any_rank=1"),
    ),
    "one photo": (PhotoDetailsDocument, lambda client, _: client.get("/api/photos/1")),
    "an unclassified photo": (PhotoDetailsDocument, lambda client, _: client.get("/api/photos/3")),
    "trips": (list[TripDocument], lambda client, _: client.get("/api/trips")),
    "a trip": (TripDocument, lambda client, _: client.get(f"/api/trips/{TRIP}")),
    "cities": (list[Place], lambda client, _: client.get("/api/cities?q=paris,%20fr")),
    "a position's city": (list[Place], lambda client, _: client.get("/api/cities?q=48.86,2.29")),
    "search": (list[SearchResult], lambda client, _: client.get("/api/search?q=paris")),
    "search for a file": (list[SearchResult], lambda client, _: client.get("/api/search?q=other")),
    "positions": (list[PositionCellDocument], lambda client, _: client.get("/api/positions")),
    "models": (list[ModelDocument], lambda client, _: client.get("/api/models")),
    "a word": (VerdictResultDocument, lambda client, _: client.post("/api/photos/1/verdicts", json=WORD)),
    "a withdrawn verdict": (
        VerdictResultDocument,
        lambda client, _: client.request("DELETE", "/api/photos/1/verdicts", json=WORD),
    ),
    "verdicts": (VerdictPage, lambda client, _: client.get("/api/verdicts")),
    "a word on many": (
        PhotosVerdictDocument,
        lambda client, _: client.post("/api/verdicts", json=WORD | {"photos": [1, 2, 3]}),
    ),
    "a word on a query": (
        QueryVerdictDocument,
        lambda client, _: client.post(
            "/api/verdicts", json={"verdict": "rejected", "query": {"landmark": EIFFEL}}
        ),
    ),
    "withdrawn verdicts": (
        WithdrawnVerdicts,
        lambda client, _: client.request("DELETE", "/api/verdicts", json=WORD | {"photos": [1]}),
    ),
    "a new landmark": (
        LandmarkDocument,
        lambda client, _: client.post("/api/landmarks", json={"name": "Old Tower", "city": "Paris"}),
    ),
    "an edited landmark": (
        EditedLandmarkDocument,
        lambda client, _: client.patch("/api/landmarks/old-tower", json={"names": {"fr": "Vieille tour"}}),
    ),
    "a removal that is tried": (
        RemovedLandmarkDocument,
        lambda client, _: client.request("DELETE", "/api/landmarks/old-tower", json={"dry_run": True}),
    ),
    "a merged landmark": (
        MergedLandmarkDocument,
        lambda client, _: client.post("/api/landmarks/old-tower/merge", json={"into": EIFFEL}),
    ),
    "a new share": (NewShareDocument, lambda client, _: client.post("/api/shares", json={"photos": [1]})),
    "shares": (list[ShareDocument], lambda client, _: client.get("/api/shares?selection=1")),
    "a share": (ShareDocument, lambda client, _: client.get("/api/shares/1")),
    "a revoked share": (ShareDocument, lambda client, _: client.delete("/api/shares/1")),
    "a look": (
        UploadPrediction,
        lambda client, _: client.post("/api/predict", content=photo(), headers={"content-type": "image/png"}),
    ),
    "a look at nothing": (
        FailedUpload,
        lambda client, _: client.post("/api/predict", content=b"no", headers={"content-type": "image/png"}),
    ),
    "status": (OverviewDocument, lambda client, _: client.get("/api/status")),
    "a job": (
        Job,
        lambda client, library: client.post("/api/jobs", json={"paths": [str(library.root)]}),
    ),
    "a job that is let go on": (Job, lambda client, _: client.post("/api/jobs/1/resume")),
    "nothing to retry": (NothingToRetry, lambda client, _: client.post("/api/jobs/1/retry")),
    "failures": (FailurePage, lambda client, _: client.get("/api/jobs/1/failures")),
    "reported objects": (
        AcceptedEvents,
        lambda client, _: client.post("/api/events/objects", json={"Records": []}),
    ),
    "a backfill that is counted": (
        CountedBackfill,
        lambda client, _: client.post("/api/backfills", json={"what": "all", "dry_run": True}),
    ),
    "a schedule": (ScheduleDocument, lambda client, _: client.post("/api/schedules", json=NIGHTLY)),
    "schedules": (list[ScheduleDocument], lambda client, _: client.get("/api/schedules")),
    "a run": (ScheduleRun, lambda client, _: client.post("/api/schedules/nightly/run-now")),
    "runs": (list[ScheduleRun], lambda client, _: client.get("/api/schedules/nightly/history")),
    "the audit log": (AuditPage, lambda client, _: client.get("/api/admin/audit?limit=1")),
    "a missing photo": (Problem, lambda client, _: client.get("/api/photos/99")),
    "a value that means nothing": (Problem, lambda client, _: client.get("/api/photos?min_score=2")),
}


def test_answers_match_their_documented_schema(client: TestClient, library: LibraryPhotos) -> None:
    for name, (shape, ask) in ANSWERS.items():
        document = ask(client, library).json()
        assert _keys(TypeAdapter(shape).validate_python(document)) == _keys(document), name


@pytest.mark.parametrize(
    "address", ["/api/photos?contry=France", "/api/photos/1?v=2", "/api/status?limit=3&top=1"]
)
def test_an_option_that_there_is_not_is_a_mistake(
    client: TestClient, library: LibraryPhotos, address: str
) -> None:
    assert library
    answer = client.get(address)
    assert answer.status_code == 422
    assert "Unknown option" in answer.json()["error"]


def test_every_answer_and_every_error_is_described(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    for address, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {address}"
            responses = operation["responses"]
            assert responses["4XX"]["content"]["application/json"]["schema"], where
            if address.endswith(STREAMS) or "204" in responses:
                continue
            (good,) = (responses[code] for code in responses if code in {"200", "201", "202"})
            schema = good["content"]["application/json"]["schema"]
            assert set(schema) & {"$ref", "items", "anyOf"}, where
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_words_are_listed_as_on_the_command_line_and_page_by_page(
    client: TestClient,
    library: LibraryPhotos,
    web_database: Database,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    client.post("/api/photos/1/verdicts", json={"landmark": GATE, "verdict": "rejected", "by": "Ada"})
    client.post("/api/photos/1/verdicts", json={"landmark": EIFFEL, "verdict": "confirmed", "by": "Ada"})
    client.post("/api/photos/2/verdicts", json={"landmark": GATE, "verdict": "confirmed"})
    verdicts = list(list_verdicts(web_database, VerdictFilter()))
    write_documents(VERDICT_COLUMNS, verdicts, Format.JSON)
    assert client.get("/api/verdicts").json()["verdicts"] == json.loads(capfdbinary.readouterr().out)

    first, second = verdicts[0].path, verdicts[-1].path
    pages = list(_pages(client, "/api/verdicts?limit=1"))
    assert [[each["path"] for each in page] for page in pages] == [[first], [first], [second], []]
    assert len(client.get("/api/verdicts?by=Ada&verdict=rejected").json()["verdicts"]) == 1
    assert len(client.get("/api/verdicts?country=germany").json()["verdicts"]) == 2
    for wrong in ("after=x", "after=1-", f"after=1-{2**63}", "verdict=maybe"):
        answer = client.get(f"/api/verdicts?{wrong}")
        assert answer.status_code in {400, 422}, wrong
        assert answer.json()["error"]


def _pages(client: TestClient, address: str) -> Iterator[list[dict[str, Any]]]:
    page = client.get(address).json()
    yield page["verdicts"]
    while page["next"] is not None:
        page = client.get(f"{address}&after={page['next']}").json()
        yield page["verdicts"]


def _keys(value: Any) -> Any:
    """The names in a document at every depth; where any name may stand, that they are names."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {name: _keys(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_keys(each) for each in value]
    return None
