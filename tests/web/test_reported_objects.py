"""Buckets report their objects to the API: photos are tagged in few jobs, and nothing that an event says is believed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx2 as httpx
import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient
from support.buckets import Bucket
from support.colour_folders import TaggedFolder
from support.job_runs import process_job
from support.page_server import TOKEN, served
from support.waiting import wait_until

from tagger.database.connection import Database
from tagger.database.enums import JobState
from tagger.database.tables import photos
from tagger.ledger.progress import JobProgress, list_jobs
from tagger.people.tokens import add_token
from tagger.photos.paths import parse_path
from tagger.settings import Settings
from tagger.web.api import events
from tagger.web.http.uploads import SMALL_BYTES

EVENTS = "/api/events/objects"
LONGEST_S = 120
SNS = {"content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}


class Reporter:
    """A bucket with one tagged photo that reports its objects to a real server."""

    def __init__(self, url: str, database: Database, settings: Settings, bucket: Bucket) -> None:
        self.bucket = bucket
        self._database = database
        self._settings = settings
        headers = {"authorization": f"Bearer {TOKEN}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=LONGEST_S)

    def report(self, *keys: str, name: str = "ObjectCreated:Put", bucket: str | None = None) -> Any:
        return self.post({"Records": [self.record(key, name, bucket or self.bucket.name) for key in keys]})

    def record(self, key: str, name: str = "ObjectCreated:Put", bucket: str = "") -> dict[str, Any]:
        s3 = {"bucket": {"name": bucket or self.bucket.name}, "object": {"key": quote_plus(key), "size": 1}}
        return {"eventName": name, "s3": s3}

    def post(self, document: object, status: int = 202) -> Any:
        response = self.http.post(EVENTS, json=document)
        assert response.status_code == status, response.text
        return response.json()

    def jobs(self) -> list[JobProgress]:
        """The jobs that events have started, oldest first, once they are recorded completely."""
        jobs = [job for job in list_jobs(self._database) if job.job > 1]
        return sorted((job for job in jobs if job.state != JobState.SCANNING), key=lambda job: job.job)

    def process(self) -> None:
        for job in self.jobs():
            if not job.is_over:
                process_job(self._database, self._settings, job.job)

    def paths(self, *, gone: bool = False) -> set[str]:
        condition = photos.c.gone_since.is_not(None) if gone else photos.c.gone_since.is_(None)
        with self._database.read() as connection:
            return set(connection.scalars(select(photos.c.path).where(condition)))

    def tagged(self) -> int:
        with self._database.read() as connection:
            count = select(func.count()).where(photos.c.content_id.is_not(None))
            return connection.scalar(count) or 0


@pytest.fixture
def folder(web_database: Database, tmp_path: Path) -> TaggedFolder:
    return TaggedFolder(web_database, tmp_path)


@pytest.fixture
def reporter(
    web_settings: Settings,
    web_database: Database,
    folder: TaggedFolder,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Reporter]:
    monkeypatch.setattr(events, "QUIET_S", 0.3)
    monkeypatch.setattr(events, "RETRY_S", 0.3)
    bucket.put("trip/a.jpg", folder.draw("a.jpg", 0))
    folder.tag(parse_path(f"{bucket.address}/trip"))
    with served(web_settings, web_database, TOKEN) as port:
        reporter = Reporter(f"http://127.0.0.1:{port}", web_database, web_settings, bucket)
        with reporter.http:
            yield reporter


def test_new_and_changed_photos_are_one_job_and_the_same_events_again_none(
    reporter: Reporter, folder: TaggedFolder
) -> None:
    reporter.bucket.put("trip/b c+d.jpg", folder.draw("b.jpg", 1))
    reporter.bucket.put("trip/a.jpg", folder.draw("a.jpg", 1, shade=5))
    for _ in range(2):
        answer = reporter.report("trip/b c+d.jpg", "trip/a.jpg", "trip/notes.txt", "trip/.hidden/c.jpg")
        assert answer == {"accepted": 2, "ignored": 2, "refused": 0, "advice": None}
    wait_until(reporter.jobs, LONGEST_S)
    reporter.report("trip/b c+d.jpg")  # while it waits for a worker
    reporter.process()
    heads = reporter.bucket.proxy.count("HEAD")
    reporter.report("trip/b c+d.jpg", "trip/a.jpg")
    wait_until(lambda: reporter.bucket.proxy.count("HEAD") >= heads + 2, LONGEST_S)
    reporter.bucket.put("trip/last.jpg", folder.draw("last.jpg", 1, shade=9))
    reporter.report("trip/last.jpg")
    wait_until(lambda: len(reporter.jobs()) == 2, LONGEST_S)
    reporter.bucket.delete("trip/last.jpg")
    reporter.report("trip/last.jpg", name="ObjectRemoved:DeleteMarkerCreated")
    wait_until(lambda: reporter.paths(gone=True) == {"last.jpg"}, LONGEST_S)
    assert [job.total for job in reporter.jobs()] == [2, 1]
    assert reporter.tagged() == 2


def test_forged_events_reach_no_other_bucket_and_no_other_prefix(reporter: Reporter) -> None:
    reporter.bucket.client.create_bucket(Bucket="secret-photos")
    reporter.bucket.client.put_object(Bucket="secret-photos", Key="trip/x.jpg", Body=b"x")
    calls = len(reporter.bucket.proxy.calls)
    assert reporter.report("trip/x.jpg", bucket="secret-photos")["refused"] == 1
    answer = reporter.report("trip-beside/x.jpg", "x.jpg", "trip/../x.jpg", "trip")
    assert (answer["accepted"], answer["ignored"] + answer["refused"]) == (0, 4)
    assert len(reporter.bucket.proxy.calls) == calls


def test_only_notifications_of_who_may_start_jobs_are_accepted(
    reporter: Reporter, web_database: Database
) -> None:
    guest = {"authorization": f"Bearer {add_token(web_database, 'guest', read_only=True)[1]}"}
    for headers, status in (({"authorization": ""}, 401), (guest, 403), ({}, 202)):
        assert reporter.http.post(EVENTS, json={"Records": []}, headers=headers).status_code == status
    large = b'{"Records": [' + b" " * SMALL_BYTES + b"]}"
    json_type = {"content-type": "application/json"}
    with reporter.http.stream("POST", EVENTS, content=large, headers=json_type) as refused:
        assert refused.status_code == 413  # the connection is closed, so the body may be lost
    for content in (b"", b"{}", b"[1]", b"\xff\x00", b"[" * 100_000):
        response = reporter.http.post(EVENTS, content=content, headers=json_type)
        assert response.status_code == 422, response.text
        assert "no notification of a bucket" in response.json()["error"]


def test_sns_messages_are_read_and_subscriptions_are_not_confirmed(
    reporter: Reporter, folder: TaggedFolder, caplog: pytest.LogCaptureFixture
) -> None:
    reporter.bucket.put("trip/b.jpg", folder.draw("b.jpg", 1))
    message = {"Type": "Notification", "Message": json.dumps({"Records": [reporter.record("trip/b.jpg")]})}
    content = json.dumps(message)
    form = {"content-type": SNS["content-type"]}
    assert reporter.http.post(EVENTS, content=content, headers=form).status_code == 415
    assert reporter.http.post(EVENTS, content=content, headers=SNS).json()["accepted"] == 1
    confirmation = {
        "Type": "SubscriptionConfirmation",
        "TopicArn": "arn:aws:sns:eu-central-1:1:photos\n",
        "SubscribeURL": f"{reporter.bucket.proxy.url}/confirm",
    }
    answer = reporter.http.post(EVENTS, content=json.dumps(confirmation), headers=SNS).json()
    assert "confirms no subscription by itself" in answer["advice"]
    assert r"a subscription to 'arn:aws:sns:eu-central-1:1:photos\n' waits" in caplog.text
    wait_until(reporter.jobs, LONGEST_S)
    assert reporter.bucket.proxy.count("GET", "confirm") == 0


def test_a_bucket_that_is_away_is_asked_again(
    reporter: Reporter, folder: TaggedFolder, caplog: pytest.LogCaptureFixture
) -> None:
    reporter.bucket.put("trip/b.jpg", folder.draw("b.jpg", 1))
    with reporter.bucket.proxy.refusing():
        reporter.report("trip/b.jpg", "trip/a.jpg")
        wait_until(lambda: "reported objects wait" in caplog.text, LONGEST_S)
        wait_until(lambda: reporter.bucket.proxy.count("GET", "list-type") > 3, LONGEST_S)
    wait_until(reporter.jobs, LONGEST_S)
    assert caplog.text.count("reported objects wait") == 1
    assert reporter.paths(gone=True) == set()


def test_more_events_than_can_wait_are_refused_for_now(
    reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_WAITING", 3)
    document = {"Records": [reporter.record(f"trip/{number}.jpg") for number in range(4)]}
    response = reporter.http.post(EVENTS, json=document)
    assert (response.status_code, response.headers["retry-after"]) == (503, "0")
    assert reporter.report("trip/1.jpg")["accepted"] == 1


def test_a_bucket_that_the_operator_names_becomes_a_root(
    client_of: Callable[..., TestClient],
    web_database: Database,
    folder: TaggedFolder,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "QUIET_S", 0.0)
    client = client_of()
    state = client.app.state.app_state  # type: ignore[attr-defined]
    state.settings = state.settings.model_copy(update={"web_folders": [Path(bucket.address)]})
    bucket.put("deep/er/a.jpg", folder.draw("a.jpg", 0))
    record = {
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket.name}, "object": {"key": "deep/er/a.jpg"}},
    }
    assert client.post(EVENTS, json={"Records": [record]}).json()["accepted"] == 1
    wait_until(lambda: [job["total"] for job in client.get("/api/status").json()["jobs"]] == [1], LONGEST_S)
    with web_database.read() as connection:
        assert connection.scalars(select(photos.c.path)).all() == ["deep/er/a.jpg"]
