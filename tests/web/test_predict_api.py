"""Uploaded photos are classified at once, as by `tagger predict --json`, many at a time, and not stored."""

import asyncio
import json
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from rig.drawing import draw_photo
from sqlalchemy import func, select
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient
from starlette.types import Message
from support.artifacts import LABELS
from support.page_server import LOCAL_URL, photo, served

from tagger.cli.commands.tag import print_predictions
from tagger.cli.program import Session
from tagger.database.connection import Database
from tagger.database.tables import contents, jobs, photos
from tagger.processes.metrics import BATCH_FILL
from tagger.settings import Settings
from tagger.web.access import AccessPolicy
from tagger.web.app import create_app
from tagger.web.uploads import UploadReader

PNG = {"content-type": "image/png"}
AT_ONCE = 24


def forward_passes() -> float:
    (metric,) = BATCH_FILL.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith("_count"))


def test_photo_sent_as_body_is_named_and_not_stored(client, web_database):
    for _ in range(2):
        answer = client.post("/api/predict", content=photo(1), headers=PNG)
        document = answer.json()
        assert (answer.status_code, document["outcome"]) == (200, "tagged")
        assert (document["tags"][0]["landmark"], document["tags"][0]["accepted"]) == (LABELS[1].slug, True)
        assert document["milliseconds"] > 0
    with web_database.read() as connection:
        for table in (photos, contents, jobs):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_answer_is_that_of_the_command(client, web_settings, web_database, capsys):
    file = web_settings.data_folder / "drawn.jpg"
    draw_photo(3, (400, 300)).save(file)
    assert print_predictions([str(file)], Session(web_settings, web_database), json=True) == 0
    (expected,) = json.loads(capsys.readouterr().out)
    with file.open("rb") as opened:
        document = client.post("/api/predict", files={"file": ("drawn.jpg", opened, "image/jpeg")}).json()
    assert document.pop("milliseconds") > 0
    assert document.pop("path") == "drawn.jpg"
    del expected["path"]
    for tag, expected_tag in zip(document["tags"], expected["tags"], strict=True):
        assert tag.pop("score") == pytest.approx(expected_tag.pop("score"), abs=0.01)
        assert tag == expected_tag
    assert document["outcome"] == expected["outcome"]


def test_predictions_have_the_askers_limits_or_a_reason(client):
    def predict(label: int | None, query: str = "") -> dict[str, Any]:
        document: dict[str, Any] = client.post(
            f"/api/predict{query}", content=photo(label), headers=PNG
        ).json()
        return document

    unknown = predict(None)
    assert unknown["outcome"] == "unknown"
    assert not any(tag["accepted"] for tag in unknown["tags"])
    document = predict(0, "?top_k=2&threshold=1")
    assert (len(document["tags"]), document["outcome"]) == (2, "unknown")
    assert len(predict(0, "?top_k=100")["tags"]) == len(LABELS)
    for data, kind in (
        (b"", "empty"),
        (b"not an image at all", "not-an-image"),
        (photo(0)[:120], "truncated"),
        (photo(0, kind="JPEG")[:400], "truncated"),
    ):
        answer = client.post("/api/predict", content=data, headers=PNG)
        document = answer.json()
        assert (answer.status_code, document["outcome"], document["kind"]) == (422, "failed", kind)
        assert document["text"] == document["error"]
        assert document["text"]


def test_limits_of_uploads_and_models_are_said(client, web_settings):
    data = bytes(web_settings.web_upload_bytes + 1)
    for sent in ({"content": data, "headers": PNG}, {"files": {"file": ("a.png", data, "image/png")}}):
        answer = client.post("/api/predict", **sent)
        assert answer.status_code == 413
        assert "TAGGER_WEB_UPLOAD_BYTES" in answer.json()["error"]
    (web_settings.data_folder.parent / "tiny.pt").unlink()
    answer = client.post("/api/predict", content=photo(0), headers=PNG)
    assert answer.status_code == 503
    assert "error" in answer.json()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_temporary_folder_is_reported_with_the_remedy(client, web_settings, monkeypatch):
    data = bytes(web_settings.web_upload_bytes)
    with monkeypatch.context() as full:
        full.setattr(tempfile, "TemporaryFile", lambda **_: Path("/dev/full").open("w+b"))  # noqa: SIM115 - its owner closes it
        for sent in ({"content": data, "headers": PNG}, {"files": {"file": ("a.png", data, "image/png")}}):
            for address in ("/api/predict", "/try"):
                answer = client.post(address, **sent)
                assert answer.status_code == 507
                assert "TMPDIR" in answer.text
    assert client.post("/api/predict", content=photo(0), headers=PNG).status_code == 200


def impatient_client(settings: Settings, database: Database, timeout_s: float) -> TestClient:
    changes = {"read_timeout_s": timeout_s, "max_pixels": 10**8, "web_upload_bytes": 10**8}
    app = create_app(settings.model_copy(update=changes), database, AccessPolicy("127.0.0.1", 8080))
    return TestClient(app, base_url=LOCAL_URL)


@pytest.mark.slow
def test_uploads_that_compute_without_end_are_given_up_and_do_not_keep_others_waiting(
    web_settings, web_database, inject
):
    inject("BUSY_ON_DECODE", "without end")
    with impatient_client(web_settings, web_database, 4.0) as client:

        def send(data: bytes) -> httpx.Response:
            return client.post("/api/predict", content=data, headers=PNG)

        assert send(photo(0)).status_code == 200
        began = time.monotonic()
        with ThreadPoolExecutor(8) as senders:
            answers = list(senders.map(send, [photo(0) + b"without end"] * 8))
        assert time.monotonic() - began < 60  # one after the other, or without a limit, it would take longer
        for answer in answers:
            assert (answer.status_code, answer.json()["kind"]) == (422, "timed-out")
            assert (
                "took longer than 4 s" in answer.json()["text"] or "too many photos" in answer.json()["text"]
            )
        assert send(photo(0)).status_code == 200


def test_an_upload_finds_no_secrets_where_it_is_decoded(client_of, inject, monkeypatch):
    monkeypatch.setenv("TAGGER_DATABASE_URL", "postgresql://tagger:secret@db.example/tagger")
    inject("ATTACK_ON_DECODE", "attacks")
    answer = client_of().post("/api/predict", content=photo(0) + b"attacks", headers=PNG)
    results, surroundings = json.loads(answer.json()["text"])
    assert "succeeded" not in results.values()
    assert not [name for name in surroundings["environment"] if name.startswith("TAGGER")]
    assert surroundings["descriptors"] == [0, 1, 2, 3]


@pytest.mark.slow
def test_photos_sent_at_once_share_forward_passes_and_all_get_their_own_answer(web_settings, web_database):
    labels = [*range(len(LABELS)), None]
    expected = [labels[number % len(labels)] for number in range(AT_ONCE)]
    sent = [photo(label, shade=number) for number, label in enumerate(expected)]
    with served(web_settings, web_database) as port:
        address = f"http://127.0.0.1:{port}/api/predict"
        httpx.post(address, content=photo(0, shade=99), headers=PNG, timeout=60)  # loads the model
        passes, start = forward_passes(), threading.Barrier(AT_ONCE)

        def send(data: bytes) -> httpx.Response:
            start.wait()
            return httpx.post(address, content=data, headers=PNG, timeout=60)

        with ThreadPoolExecutor(AT_ONCE) as senders:
            answers = list(senders.map(send, sent))
        shared = forward_passes() - passes
    for answer, label in zip(answers, expected, strict=True):
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document["outcome"] == ("unknown" if label is None else "tagged")
        assert label is None or document["tags"][0]["landmark"] == LABELS[label].slug
    assert shared < AT_ONCE


def test_uploads_share_the_space_for_temporary_files():
    async def run() -> None:
        reader = UploadReader(memory_bytes=200, space_bytes=100)
        client_leaves = asyncio.Event()

        def upload(*parts: int, length: int | None = None, leaves: bool = False) -> Request:
            messages = [{"type": "http.request", "body": bytes(size), "more_body": True} for size in parts]

            async def receive() -> Message:
                if messages:
                    return messages.pop(0)
                if leaves:
                    await client_leaves.wait()
                    return {"type": "http.disconnect"}
                return {"type": "http.request", "body": b"", "more_body": False}

            headers = [] if length is None else [(b"content-length", str(length).encode())]
            return Request({"type": "http", "headers": headers}, receive)

        async def read(request: Request) -> int:
            async with reader.read(request, max_bytes=100) as file:
                return len(file.data)

        unfinished = asyncio.create_task(read(upload(50, 40, leaves=True)))
        await asyncio.sleep(0.01)
        for refused in (upload(20, length=20), upload(5, 5, 5)):
            with pytest.raises(HTTPException) as error:
                await read(refused)
            assert (error.value.status_code, error.value.headers) == (503, {"Retry-After": "10"})
        assert await read(upload(5, 5)) == 10
        client_leaves.set()
        with pytest.raises(ClientDisconnect):
            await unfinished
        assert await read(upload(100, length=100)) == 100

    # Browser tests of this process leave a loop in this thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, run()).result()
