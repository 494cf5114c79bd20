"""The page shows photos in buckets: thumbnails, the photo itself, and why one is not available."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.buckets import Bucket
from support.colour_folders import TaggedFolder
from support.library_photos import decoded

from tagger.database.connection import Database
from tagger.photos.object_paths import parse_path


@pytest.fixture
def client(
    client_of: Callable[..., TestClient], web_database: Database, tmp_path: Path, bucket: Bucket
) -> TestClient:
    folder = TaggedFolder(web_database, tmp_path)
    bucket.put("trip/a.jpg", folder.draw("a.jpg", 0))
    folder.tag(parse_path(bucket.address))
    return client_of()


def test_an_object_has_a_thumbnail_and_a_page(client: TestClient, bucket: Bucket) -> None:
    thumbnail = client.get("/api/photos/1/thumbnail")
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert decoded(thumbnail.content).size == (256, 256)
    image = client.get("/api/photos/1/image")
    assert image.content == bucket.client.get_object(Bucket=bucket.name, Key="trip/a.jpg")["Body"].read()
    again = client.get("/api/photos/1/image", headers={"if-none-match": image.headers["etag"]})
    assert again.status_code == 304
    page = client.get("/photos/1").text.replace("<wbr>", "")
    assert f"<dd>{bucket.address}/trip</dd>" in page
    assert client.get("/photos", params={"under": f"{bucket.address}/trip"}).text.count("thumbnail") >= 1
    assert client.get("/api/photos", params={"under": f"{bucket.address}/other"}).json()["photos"] == []


def test_what_is_not_available_says_why(client: TestClient, bucket: Bucket) -> None:
    with bucket.proxy.refusing():
        refused = client.get("/api/photos/1/thumbnail")
    assert (refused.status_code, refused.json()["kind"]) == (404, "unavailable")
    assert "refuses access" in refused.json()["error"]
    bucket.delete("trip/a.jpg")
    gone = client.get("/api/photos/1/image")
    assert (gone.status_code, gone.json()["kind"]) == (404, "gone")


def test_the_page_starts_no_jobs_in_buckets(client: TestClient, bucket: Bucket) -> None:
    assert bucket.address not in client.get("/api/folders").text
    answer = client.post("/api/jobs", json={"paths": [bucket.address]})
    assert answer.status_code == 403
