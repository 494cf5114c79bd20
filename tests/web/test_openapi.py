"""What /api/openapi.json says of answers is what answers are."""

import json
from dataclasses import asdict, is_dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import pytest
from pydantic import TypeAdapter
from support.library_photos import EIFFEL, GATE, TRIP, LibraryPhotos, add_trip
from support.page_server import photo

from tagger.landmarks.edits import RemovedLandmarkDocument
from tagger.query.counts import TripDocument
from tagger.query.details import PhotoDetailsDocument
from tagger.query.photo_json import LandmarkDocument
from tagger.verdicts import VerdictsDocument
from tagger.web.api.jobs import CountedBackfill, FailurePage, Job, NothingToRetry, OverviewDocument
from tagger.web.api.landmarks import Place, SearchResult
from tagger.web.api.photos import PhotoPage
from tagger.web.api.uploads import FailedUpload, UploadPrediction
from tagger.web.routes import Problem

STREAMS = ("csv", "geojson", "image", "preview", "thumbnail", "file", "events")


@pytest.fixture
def library(library) -> LibraryPhotos:
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
# Requests in order, and the shapes of their answers. `{root}`: the library's folder; bytes: a photo.
ANSWERS: list[tuple[Any, str, str, Any]] = [
    (PhotoPage, "GET", "/api/photos?any_rank=1&limit=1", None),
    (PhotoDetailsDocument, "GET", "/api/photos/1", None),
    (PhotoDetailsDocument, "GET", "/api/photos/3", None),  # not classified
    (list[TripDocument], "GET", "/api/trips", None),
    (TripDocument, "GET", f"/api/trips/{TRIP}", None),
    (list[Place], "GET", "/api/cities?q=paris,%20fr", None),
    (list[Place], "GET", "/api/cities?q=48.86,2.29", None),
    (list[SearchResult], "GET", "/api/search?q=paris", None),
    (list[SearchResult], "GET", "/api/search?q=other", None),  # a file
    (VerdictsDocument, "POST", "/api/verdicts", WORD | {"photos": [1, 2, 3]}),
    (VerdictsDocument, "DELETE", "/api/verdicts", WORD | {"photos": [1]}),
    (LandmarkDocument, "POST", "/api/landmarks", {"name": "Old Tower", "city": "Paris"}),
    (RemovedLandmarkDocument, "DELETE", "/api/landmarks/old-tower", None),
    (UploadPrediction, "POST", "/api/predict", photo()),
    (FailedUpload, "POST", "/api/predict", b"no"),
    (OverviewDocument, "GET", "/api/status", None),
    (Job, "POST", "/api/jobs", {"paths": ["{root}"]}),
    (Job, "POST", "/api/jobs/1/resume", None),
    (NothingToRetry, "POST", "/api/jobs/1/retry", None),
    (FailurePage, "GET", "/api/jobs/1/failures", None),
    (CountedBackfill, "POST", "/api/backfills", {"what": "all", "dry_run": True}),
    (Problem, "GET", "/api/photos/99", None),
    (Problem, "GET", "/api/photos?min_score=2", None),
]


def test_answers_match_their_schema_and_unknown_options_are_a_mistake(client, library):
    for shape, method, address, body in ANSWERS:
        if isinstance(body, bytes):
            sent: dict[str, Any] = {"content": body, "headers": {"content-type": "image/png"}}
        else:
            sent = {"json": json.loads(json.dumps(body).replace("{root}", str(library.root)))} if body else {}
        document = client.request(method, address, **sent).json()
        assert _keys(TypeAdapter(shape).validate_python(document)) == _keys(document), (method, address)
    for address in ("/api/photos?contry=France", "/api/photos/1?v=2", "/api/status?limit=3&top=1"):
        answer = client.get(address)
        assert (answer.status_code, "Unknown option" in answer.json()["error"]) == (422, True), address


def test_every_answer_and_every_error_is_described(client):
    document = client.get("/api/openapi.json").json()
    assert document["info"]["version"] == version("landmark-tagger")
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


def _keys(value: Any) -> Any:
    """The names in a document at every depth; where any name may stand, that they are names."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {name: _keys(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_keys(each) for each in value]
    return None
