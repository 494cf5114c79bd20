"""The page shows photos in buckets: thumbnails, the photo itself, and why one is not available."""

import pytest
from starlette.testclient import TestClient
from support.colour_folders import TaggedFolder
from support.commands import draw
from support.library_photos import decoded

from tagger.photos.paths import parse_path
from tagger.web.api.job_starter import folder_key


@pytest.fixture
def client(client_of, web_database, tmp_path, bucket) -> TestClient:
    folder = TaggedFolder(web_database, tmp_path)
    bucket.put("trip/a.jpg", folder.draw("a.jpg", 0))
    folder.tag(parse_path(bucket.address))
    return client_of()


def test_an_object_has_a_page_and_no_job_starts_in_another_bucket(client, bucket):
    thumbnail = client.get("/api/photos/1/thumbnail")
    assert thumbnail.headers["content-type"] == "image/webp"
    assert decoded(thumbnail.content).size == (80, 60)
    preview = client.get("/api/photos/1/preview")
    assert preview.headers["content-type"] == "image/webp"
    image = client.get("/api/photos/1/image")
    assert image.content == bucket.client.get_object(Bucket=bucket.name, Key="trip/a.jpg")["Body"].read()
    again = client.get("/api/photos/1/image", headers={"if-none-match": image.headers["etag"]})
    assert again.status_code == 304
    page = client.get("/photos/1").text.replace("<wbr>", "")
    assert f"<dd>{bucket.address}/trip</dd>" in page
    assert client.get("/photos", params={"under": f"{bucket.address}/trip"}).text.count("thumbnail") >= 1
    assert client.get("/api/photos", params={"under": f"{bucket.address}/other"}).json()["photos"] == []
    name = bucket.name
    calls = len(bucket.proxy.calls)
    for address in (
        *("s3://other-bucket", f"s3://{name}-beside/x", f"gs://{name}", f"s3://{name}/../other"),
        *("s3:/", f"s3://a@{name}", name, ""),
    ):
        assert client.post("/api/jobs", json={"paths": [address]}).status_code in {403, 422}, address
        assert client.post("/jobs/new", data={"address": address}).status_code == 403, address
    assert len(bucket.proxy.calls) == calls


def test_what_is_not_available_says_why(client, bucket):
    with bucket.proxy.refusing():
        refused = client.get("/api/photos/1/thumbnail")
        no_job = client.post("/jobs/new", data={"address": bucket.address})
        assert client.get("/jobs/new").status_code == 200
    assert (no_job.status_code, "refuses access" in no_job.text) == (409, True)
    assert len(client.get("/api/status").json()["jobs"]) == 1
    assert (refused.status_code, refused.json()["kind"]) == (404, "unavailable")
    assert "refuses access" in refused.json()["error"]
    bucket.delete("trip/a.jpg")
    gone = client.get("/api/photos/1/image")
    assert (gone.status_code, gone.json()["kind"]) == (404, "gone")


def test_jobs_start_at_addresses_in_known_buckets(client, bucket, tmp_path):
    bucket.put("trip/2026/b.jpg", draw(tmp_path / "b.jpg", 1))
    page = client.get("/jobs/new").text
    assert f'value="{bucket.address}"' in page
    started = client.post("/jobs/new", data={"address": f"{bucket.address}/trip/2026"})
    assert started.status_code == 303, started.text
    shown = client.get(started.headers["location"]).text.replace("<wbr>", "")
    assert f"{bucket.address}/trip/2026" in shown
    assert "Tag 2026" in shown
    answer = client.post("/api/jobs", json={"paths": [f"{bucket.address}/trip/a.jpg"]})
    assert (answer.status_code, answer.json()["total"]) == (202, 1)
    key = folder_key(parse_path(bucket.address))
    whole = client.post("/api/jobs", json={"paths": [{"key": key}]})
    assert whole.status_code == 202
    assert "already" in whole.json()["note"]  # earlier jobs have both photos
