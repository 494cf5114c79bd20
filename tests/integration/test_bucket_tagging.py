"""Objects are found, tagged and located like files; what happens to them or their server stores nothing wrong."""

import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from sqlalchemy import insert, select
from support.buckets import SECRET, Bucket, Fault
from support.colour_folders import EIFFEL, GATE
from support.databases import execute
from support.local_servers import Quiet, running
from support.program_libraries import LIBRARIES
from support.scanned_folder import ScannedFolder

from tagger.database import JobState, Target
from tagger.database.connection import Database
from tagger.database.tables import contents, metadata_writes, photos, roots
from tagger.errors import BucketUnavailable, FailureKind, PhotoFailed
from tagger.jobs.enqueue import selection
from tagger.jobs.enqueue.selection import ScanReport, require_available_roots, select_paths
from tagger.jobs.enqueue.submission import WRITE, MetadataOptions
from tagger.jobs.processing.executor import run_job
from tagger.metadata.photo_files import find_photo_files
from tagger.photos import buckets, object_store
from tagger.photos.buckets import ObjectSource
from tagger.photos.object_store import AWS, current_endpoint, note_endpoint, open_store
from tagger.photos.paths import ObjectPath, parse_path
from tagger.photos.source import open_source


def test_objects_are_tagged_once(photos, bucket):
    photos.draw("a.jpg", 0)
    photos.draw("trip/b.jpg", 1)
    photos.draw("grey.jpg", None)
    bucket.put("broken.jpg", b"\xff\xd8\xff no picture")
    bucket.put("empty.jpg", b"")
    expected = {"a.jpg": "tagged", "trip/b.jpg": "tagged", "grey.jpg": "unknown"}
    assert photos.tag_bucket() == expected | {"broken.jpg": "failed", "empty.jpg": "failed"}
    assert photos.tags_of("a.jpg")[0] == (EIFFEL, 1, True)
    assert photos.photo("empty.jpg").failure_kind == FailureKind.EMPTY
    bucket.proxy.calls.clear()
    again = photos.tag_bucket()
    assert {name: again[name] for name in expected} == dict.fromkeys(expected, "skipped")
    assert bucket.proxy.count("GET", "/a.jpg") == 0


def test_a_replaced_object_of_the_same_size_gets_its_own_tags(photos, bucket):
    photos.draw("a.jpg", 0)
    photos.tag_bucket()
    before = photos.photo("a.jpg")
    gate = photos.draw("gate.jpg", 1).read_bytes()
    bucket.put("a.jpg", gate.ljust(before.size_bytes, b"\0")[: max(len(gate), before.size_bytes)])
    assert photos.tag_bucket()["a.jpg"] == "tagged"
    assert photos.tags_of("a.jpg")[0] == (GATE, 1, True)
    after = photos.photo("a.jpg")
    assert (after.mtime_ns, after.classified_mtime_ns) == (after.mtime_ns, after.mtime_ns)
    assert after.mtime_ns != before.mtime_ns


def test_faults_while_many_photos_are_read_ahead_leave_one_outcome_each(photos, bucket):
    names = [f"{number:02}.jpg" for number in range(40)]
    for number, name in enumerate(names):
        photos.draw(name, number % 2, shade=number)
    gate = (photos.folder / "01.jpg").read_bytes()
    job = photos.record(parse_path(bucket.address))
    bucket.delete("07.jpg")
    bucket.proxy.inject(
        Fault("/08.jpg", cut_after=200),
        Fault("/08.jpg", then=lambda: bucket.put("08.jpg", gate)),
        Fault(".jpg", status=503, code="SlowDown", times=8),
        Fault(".jpg", status=400, code="ExpiredToken", times=2),
        Fault(".jpg", status=500, code="InternalError", times=2),
        Fault(".jpg", cut_after=100, times=5),
        Fault(".jpg", delay_s=0.05, times=10**9),  # so that readers are added
    )
    photos.run(job)
    outcomes = photos.outcomes(job)
    assert outcomes.pop("07.jpg") == "gone"
    assert photos.photo("07.jpg").failure_kind == FailureKind.GONE
    assert outcomes == dict.fromkeys(outcomes, "tagged")
    assert len(outcomes) == 39
    for number, name in enumerate(names):
        if name != "07.jpg":
            is_gate = number % 2 or name == "08.jpg"
            assert photos.tags_of(name)[0] == (GATE if is_gate else EIFFEL, 1, True), name


def test_an_object_that_may_not_be_read_or_is_too_large_fails_alone(photos, bucket):
    photos.draw("a.jpg", 0)
    photos.draw("b.jpg", 1)
    bucket.put("large.jpg", b"\xff\xd8\xff" + b"x" * 10_000)
    photos.settings = photos.settings.model_copy(update={"max_bytes": 5000})
    bucket.proxy.inject(Fault("/a.jpg", status=403, code="InvalidObjectState", times=10**9))
    assert photos.tag_bucket() == {"a.jpg": "failed", "b.jpg": "tagged", "large.jpg": "failed"}
    row = photos.photo("a.jpg")
    assert row.failure_kind == FailureKind.UNREADABLE
    assert "archived (InvalidObjectState)" in row.failure_text
    assert photos.photo("large.jpg").failure_kind == FailureKind.TOO_LARGE


def test_a_bucket_that_truncates_answers_is_said_to_answer(bucket):
    bucket.put("a.jpg", b"x" * 1000)
    source = buckets.ObjectSource(parse_path(bucket.address), patient=False)
    bucket.proxy.inject(Fault("/a.jpg", cut_after=10, times=10**9))
    with pytest.raises(PhotoFailed, match="sends less of an answer than it announced") as failed:
        source.read("a.jpg", max_bytes=10**6)
    assert failed.value.failure.kind == FailureKind.UNREACHABLE
    bucket.proxy.inject(Fault("list-type", cut_after=100, times=10**9))
    assert "sends less of an answer than it announced" in str(source.mount().problem)


def test_a_job_waits_for_a_bucket_that_refuses(photos, bucket):
    photos.draw("a.jpg", 0)
    job = photos.record(parse_path(bucket.address))
    with bucket.proxy.refusing(403, "InvalidAccessKeyId"):
        run_job(photos.database, photos.settings, job)
        progress = photos.progress(job)
    assert (progress.state, progress.note) == (
        JobState.WAITING,
        f"waiting for {bucket.address}: the server refuses access (InvalidAccessKeyId). Check the credentials and their rights to list and read",
    )
    assert photos.outcomes(job) == {"a.jpg": None}
    assert photos.photo("a.jpg").gone_since is None


def test_keys_come_from_the_profile_of_the_aws_tools(photos, bucket, tmp_path, monkeypatch):
    photos.draw("a.jpg", 0)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "credentials").write_text(
        f"[team]\naws_access_key_id = OFTEAM\naws_secret_access_key = {SECRET}\naws_session_token = %token\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert photos.tag_bucket() == {"a.jpg": "tagged"}
    headers = {name.lower(): value for name, value in bucket.proxy.calls[-1].headers.items()}
    assert "OFTEAM/" in headers["authorization"]
    assert headers["x-amz-security-token"] == "%token"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "no server listens at 127.0.0.1:1. Check the endpoint"),
        ({"AWS_ENDPOINT_URL_S3": "http://minio.invalid:9000"}, "the name of minio.invalid:9000 is not known. Check the endpoint"),
        ({"AWS_ENDPOINT_URL_S3": "https://{server}"}, "{server} does not use TLS. Begin the endpoint with http://"),
        ({"AWS_ENDPOINT_URL_S3": "http://{server}/no-bucket"}, "there is no such bucket. Check its name and the endpoint"),
        ({"AWS_CA_BUNDLE": "/none.pem"}, "the file /none.pem, which AWS_CA_BUNDLE names, cannot be read: No such file or directory"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull,
          "AWS_METADATA_ENDPOINT": "http://127.0.0.1:1"}, "there are no credentials for it"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_the_reason(bucket, monkeypatch, variables, problem):
    server = bucket.proxy.url.removeprefix("http://")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(server=server))
        if not value:
            monkeypatch.delenv(name)
    found = buckets.ObjectSource(parse_path(bucket.address)).mount().problem
    assert (found or "").startswith(problem.format(server=server))


def test_versions_agree_between_listing_head_and_reading(bucket):
    bucket.put("trip/a.jpg", b"content")
    source = open_source(f"{bucket.address}/trip")
    (found,) = source.photos()
    assert found.version == source.version("a.jpg") == source.read("a.jpg", max_bytes=100).version
    assert source.version("b.jpg") is None
    assert source.missing(["a.jpg", "b.jpg", "c.jpg"]) == {"b.jpg", "c.jpg"}


def test_a_process_without_an_endpoint_does_not_ask_aws_for_a_bucket_of_another_server(
    photos, bucket, monkeypatch
):
    photos.draw("a.jpg", 0)
    job = photos.record(parse_path(bucket.address))
    with photos.database.read() as connection:
        endpoint = connection.scalar(select(roots.c.endpoint).where(roots.c.location == bucket.address))
    assert endpoint == bucket.proxy.url
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    bucket.proxy.calls.clear()
    run_job(photos.database, photos.settings, job)
    assert photos.progress(job).state is JobState.WAITING
    assert f"Set AWS_ENDPOINT_URL={endpoint}" in str(photos.progress(job).note)
    with pytest.raises(PhotoFailed, match="this process, which has no endpoint, would ask AWS"):
        open_source(bucket.address).read("a.jpg", max_bytes=10**6)
    assert bucket.proxy.calls == []
    another_name = bucket.proxy.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", another_name)
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert open_source(bucket.address).read("a.jpg", max_bytes=10**6).size_bytes


def test_a_bucket_of_aws_is_not_asked_for_elsewhere(monkeypatch):
    path = ObjectPath("s3://holidays-of-aws")
    for endpoint in ("https://s3.eu-west-1.amazonaws.com", None):
        if endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        else:
            monkeypatch.delenv("AWS_ENDPOINT_URL")
        assert current_endpoint(path) == AWS
        note_endpoint(path, AWS)
        open_store(path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:password@minio:9000/")
    with pytest.raises(
        BucketUnavailable, match=r"found at AWS, and this process would ask http://minio:9000\."
    ):
        open_store(path)


def test_what_version_1_wrote_stays_recorded_and_is_not_undone(photos):
    photos.draw_and_tag("a.jpg", "b.jpg")
    with photos.database.read() as connection:
        digest = connection.scalar(
            select(contents.c.digest).where(contents.c.id == photos.photo("a.jpg").content_id)
        )
    row = {
        "photo_id": photos.photo("a.jpg").id,
        "job_id": photos.latest().job,
        "image_digest": digest,
        "target": Target.SIDECAR,
        "file": "a.jpg.xmp",
        "written_digest": "0" * 64,
        "base_digest": None,
        "undo": None,
        "landmarks": ["eiffel-tower"],
        "written_at": datetime.now(UTC),
        "complete": True,
    }
    execute(photos.database, insert(metadata_writes), [row])
    assert photos.undo() == {"a.jpg": "refused"}
    assert photos.refusal("a.jpg")[1].endswith("What version 1 wrote there is undone with version 1.")
    assert len(photos.undo_rows) == 1


def test_options_that_version_1_stored_are_understood():
    stored = {WRITE: {"to": "embed", "embed_objects": True}}
    assert MetadataOptions.from_job_options(stored) == MetadataOptions(Target.EMBED)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((), ()),
        (("IMG_1.xmp",), ("IMG_1.xmp",)),
        (("IMG_1.XMP", "IMG_1.jpg.xmp"), ("IMG_1.jpg.xmp", "IMG_1.XMP")),
        (("IMG_1.xmp", "IMG_1.CR3"), ()),
        (("IMG_1.xmp", "IMG_1-1.jpg", "IMG_10.jpg", "IMG_1/IMG_1.cr3"), ("IMG_1.xmp",)),
        (("img_1.xmp", "IMG_1.jpg.xmpx", "sub/IMG_1.jpg.xmp"), ()),
    ],
)
def test_sidecars_of_objects_are_found(bucket, monkeypatch, others, expected):
    monkeypatch.setattr(buckets, "PAGE", 2)
    bucket.proxy.page_keys = 2
    for prefix in ("", "trip ä/"):
        for name in ("IMG_1.jpg", *others):
            bucket.put(prefix + name, b"content")
        photo = parse_path(f"{bucket.address}/{prefix}IMG_1.jpg")
        assert find_photo_files(photo).beside == tuple(photo.with_name(name) for name in expected)


SECRETS = {"key": "KeyThatSigns", "token": "TokenOfTheSession", "SAS": "SignatureOfTheSas"}


class Redirecting:
    """A server with TLS that redirects to another name of this machine, as which it keeps what it is sent."""

    def __init__(self, authority: trustme.CA) -> None:
        self.requests: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self.server.server_port}"

    def sent_secrets(self) -> set[str]:
        assert self.requests, "the redirect was not followed"
        text = "".join(self.requests)
        return {name for name, value in SECRETS.items() if value in text}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        redirecting = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_other = self.path == "/elsewhere"
                if is_other:
                    redirecting.requests.append(f"{self.requestline}\n{self.headers}")
                self.send_response(200 if is_other else 307)
                self.send_header("Location", f"https://localhost:{redirecting.server.server_port}/elsewhere")
                self.send_header("Content-Length", "5")
                self.send_header("ETag", '"1"')
                self.send_header("Last-Modified", "Mon, 02 Nov 2026 08:00:00 GMT")
                self.end_headers()
                self.wfile.write(b"photo")

        return Handler


@pytest.fixture
def servers(tmp_path, monkeypatch) -> Iterator[Redirecting]:
    authority = trustme.CA()
    servers = Redirecting(authority)
    authority.cert_pem.write_to_path(tmp_path / "authority.crt")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "authority.crt"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with running(servers.server):
        yield servers


def _read(address: str) -> bytes:
    import obstore

    path = parse_path(address)
    return bytes(obstore.get(object_store.open_store(path), "photo.jpg").bytes())


def test_temporary_keys_of_s3_show_their_token_and_nothing_that_signs(servers, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", servers.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["key"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRETS["token"])
    assert _read("s3://redirected") == b"photo"
    assert servers.sent_secrets() == {"token"}
    assert "authorization" not in servers.requests[0].lower()


def test_a_sas_token_of_azure_is_seen_whole(servers, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{servers.address}/account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", f"sv=2022-11-02&sig={SECRETS['SAS']}")
    assert _read("az://redirected") == b"photo"
    assert servers.sent_secrets() == {"SAS"}


class Prefixes(ScannedFolder):
    def __init__(self, database: Database, bucket: Bucket) -> None:
        super().__init__(database, parse_path(bucket.address))

    def scan(self, *prefixes: str, **patterns: tuple[str, ...]) -> ScanReport:
        paths = [parse_path(f"{self.path}/{prefix}") for prefix in prefixes]
        require_available_roots(self.database, select_paths(paths or [self.path], **patterns), {})
        report = super().scan(*paths, **patterns)
        assert report.problems == []
        return report

    def paths(self, *, gone: bool = False) -> list[str]:
        query = (
            select(photos.c.path, photos.c.gone_since)
            .join(roots, roots.c.id == photos.c.root_id)
            .where(roots.c.location.startswith("s3:"))
            .order_by(photos.c.path)
        )
        with self.database.read() as connection:
            return [row.path for row in connection.execute(query) if (row.gone_since is not None) == gone]

    def locations(self) -> list[str]:
        with self.database.read() as connection:
            return list(
                connection.scalars(select(roots.c.location).where(roots.c.location.startswith("s3:")))
            )


@pytest.fixture
def prefixes(database, bucket, monkeypatch) -> Prefixes:
    monkeypatch.setattr(object_store, "RETRY_PAUSE_S", 0.01)
    monkeypatch.setattr(buckets, "PAGE", 10)
    monkeypatch.setattr(selection, "PAGE", 10)
    return Prefixes(database, bucket)


def test_scans_find_new_changed_and_gone_objects(prefixes, bucket):
    for name in ("a.jpg", "b.jpg", "sub/c.jpg", "ä %2F+#?&.jpg"):
        bucket.put(f"trip/{name}", b"old")
    bucket.put("trip2/d.jpg", b"not below the prefix")
    assert prefixes.counts("trip") == (4, 4, 0, 0)
    assert prefixes.locations() == [f"{bucket.address}/trip"]
    assert prefixes.paths() == ["a.jpg", "b.jpg", "sub/c.jpg", "ä %2F+#?&.jpg"]
    assert prefixes.counts("trip") == (4, 0, 0, 0)
    bucket.put("trip/b.jpg", b"new")  # of the same size, often in the same second
    bucket.delete("trip/sub/c.jpg")
    assert prefixes.counts("trip") == (3, 0, 1, 1)
    assert prefixes.paths(gone=True) == ["sub/c.jpg"]
    bucket.put("trip/sub/c.jpg", b"back")
    assert prefixes.counts("trip") == (4, 0, 1, 0)


def test_hidden_and_excluded_objects_are_not_found_and_other_extensions_are_counted(prefixes, bucket):
    hidden = (
        ".hidden.jpg",
        ".e.mp4",
        ".trash/b.jpg",
        ".trash/f.mp4",
        "@eaDir/c.jpg",
        "skip/d.jpg",
        "skip/g.mp4",
    )
    for name in ("a.jpg", "e.PNG", "a.jpg.xmp", "b.MP4", "sub/c.mp4", "notes.txt", *hidden):
        bucket.put(name, b"x")
    bucket.put("folder/", b"")
    report = prefixes.scan(exclude=("skip",))
    assert (report.found, prefixes.paths()) == (2, ["a.jpg", "e.PNG"])
    assert report.other_files.by_extension == {".mp4": 2, ".txt": 1}
    assert prefixes.counts(include=("a.*",)) == (1, 0, 0, 0)
    bucket.delete("e.PNG")
    assert prefixes.counts(include=("a.*",)) == (1, 0, 0, 1)


def test_originals_of_a_library_are_photos_and_copies_are_not(bucket):
    paths = {
        f"{name}/{path}": is_photo
        for name, library in LIBRARIES.items()
        for path, is_photo in library.items()
    }
    for path in paths:
        bucket.put(path, b"x")
    found = ObjectSource(ObjectPath(bucket.address)).photos()
    listed = {str(photo.path).removeprefix(f"{bucket.address}/") for photo in found}
    assert listed == {path for path, is_photo in paths.items() if is_photo}


def test_a_scan_takes_no_request_per_object(prefixes, bucket):
    for number in range(30):
        bucket.put(f"{number:02}.jpg", b"x")
    prefixes.scan()
    for number in range(15):
        bucket.delete(f"{number:02}.jpg")
    bucket.proxy.calls.clear()
    assert prefixes.counts() == (15, 0, 0, 15)
    assert bucket.proxy.count("HEAD") == 0
    assert bucket.proxy.count("GET") < 10


def test_a_listing_that_is_cut_goes_on_after_the_last_key(prefixes, bucket):
    for number in range(25):
        bucket.put(f"{number:02}.jpg", b"x")
    bucket.proxy.page_keys = 10
    bucket.proxy.inject(
        Fault("continuation-token", cut_after=100),
        Fault("start-after", status=503, code="SlowDown", times=2),
    )
    assert prefixes.counts() == (25, 25, 0, 0)
    assert bucket.proxy.count("GET", "start-after=09.jpg") >= 3


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, "AccessDenied", "refuses access"),
        (404, "NoSuchBucket", "no such bucket"),
        pytest.param(400, "ExpiredToken", "credentials have expired (ExpiredToken)", marks=pytest.mark.slow),
    ],
)
def test_a_bucket_that_refuses_marks_nothing_as_gone(prefixes, bucket, status, code, text):
    bucket.put("a.jpg", b"x")
    prefixes.scan()
    selection = select_paths([parse_path(bucket.address)])
    with bucket.proxy.refusing(status, code):
        with pytest.raises(BucketUnavailable) as problem:
            require_available_roots(prefixes.database, selection, {})
        assert text in str(problem.value)
        with pytest.raises(BucketUnavailable, match=r"No photo was marked as gone"):
            select_paths([parse_path(bucket.address)])
    assert prefixes.paths() == ["a.jpg"]
    assert prefixes.counts() == (1, 0, 0, 0)


def test_a_listing_that_fails_in_between_marks_nothing_as_gone(prefixes, bucket):
    for number in range(25):
        bucket.put(f"{number:02}.jpg", b"x")
    prefixes.scan()
    for number in range(5, 25):
        bucket.delete(f"{number:02}.jpg")
    bucket.proxy.page_keys = 10
    refusal = Fault("list-type", times=10**9, status=403, code="AccessDenied")
    bucket.proxy.inject(Fault("list-type", times=4), refusal)  # three checks and the first page
    with pytest.raises(BucketUnavailable, match="refuses access"):
        prefixes.scan()
    assert prefixes.paths(gone=True) == []


def test_the_reason_is_that_of_the_listing_that_failed_although_the_next_one_succeeds(prefixes, bucket):
    bucket.put("a.jpg", b"x")
    prefixes.scan()
    database = prefixes.database
    selection = select_paths([parse_path(bucket.address)])
    bucket.proxy.inject(Fault("list-type", status=403, code="AccessDenied"))
    with pytest.raises(BucketUnavailable, match="refuses access") as problem:
        require_available_roots(database, selection, {})
    assert "forget" not in str(problem.value)


def test_an_empty_prefix_with_stored_photos_is_unavailable(prefixes, bucket):
    bucket.put("trip/a.jpg", b"x")
    prefixes.scan("trip")
    bucket.delete("trip/a.jpg")
    with pytest.raises(BucketUnavailable, match=r"database has 1 photo in it.*tagger forget s3://"):
        prefixes.scan("trip")
    assert prefixes.paths(gone=True) == []


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("b//c.jpg", "has an empty part (//)"),
        ("b/../c.jpg", "one that is a dot"),
        ("b/\u00e9 +%2F\x7f.jpg", "a control character"),
        ("/z.jpg", "begins with a slash"),
        ("/a.jpg", "begins with a slash"),
    ],
)
def test_a_key_that_cannot_be_read_fails_the_listing_and_marks_nothing_as_gone(
    prefixes, bucket, key, problem
):
    for name in ("-.jpg", "0.jpg", "a.jpg", "b/+ %2F.jpg", "b/c-d.jpg", "b/z.jpg"):
        bucket.put(name, b"x")
    bucket.put("b/", b"")
    assert prefixes.counts() == (6, 6, 0, 0)
    bucket.put(key, b"x")
    bucket.delete("b/z.jpg")
    with pytest.raises(BucketUnavailable) as unavailable:
        prefixes.scan()
    assert problem in str(unavailable.value)
    assert "Rename that object" in str(unavailable.value)
    assert prefixes.paths(gone=True) == []
    bucket.delete(key)
    assert prefixes.counts() == (5, 0, 0, 1)


@pytest.mark.postgresql
def test_a_prefix_above_a_root_absorbs_it(prefixes, bucket):
    bucket.put("trip/sub/a.jpg", b"x")
    prefixes.scan("trip/sub")
    assert prefixes.counts() == (1, 0, 0, 0)
    assert prefixes.locations() == [bucket.address]
    assert prefixes.paths() == ["trip/sub/a.jpg"]


def test_a_single_object_is_found_whatever_its_extension(prefixes, bucket):
    bucket.put("trip/raw.data", b"x")
    bucket.put("trip/a.jpg", b"x")
    assert prefixes.counts("trip/raw.data") == (1, 1, 0, 0)
    assert prefixes.counts("trip") == (1, 1, 0, 0)
    assert prefixes.paths() == ["a.jpg", "raw.data"]
