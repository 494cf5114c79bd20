"""Visitors with the link of a share see its photos and nothing else; most of these tests try to see more."""

import io
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import insert, update
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.page_server import LOCAL_URL, TOKEN, client_at
from support.trip_photos import TRIP, add_trip
from support.waiting import wait_until
from support.web_routes import ROUTES, with_numbers

from tagger.database.audit_log import AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.tables import cameras, shares
from tagger.landmarks.edits import NewLandmark, add_landmark
from tagger.landmarks.removal import merge_landmark
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import StoredPhoto
from tagger.query.timeline import Section
from tagger.query.trip_summaries import trip_summary
from tagger.settings import Settings
from tagger.shares import NewShare, Share, add_share, revoke_share, share_documents
from tagger.trips.stored import all_trips, merge_trips
from tagger.verdicts.service import give_verdicts
from tagger.verdicts.store import dismiss_photos, star_photos
from tagger.web.api import photo_images
from tagger.web.app import create_app
from tagger.web.http.attempt_limiter import MAX_ATTEMPTS, RequestLimiter, is_for_visitors
from tagger.web.http.auth import AccessPolicy
from tagger.web.pages import shared
from tagger.web.state import AppState

SHARE_PATHS = sorted({route.path for route in ROUTES if route.path.startswith("/shared/")})
OTHER_PATHS = sorted(
    {route.path for route in ROUTES if not is_for_visitors(route.path) and not route.path.startswith("/sign")}
)
PHOTO_PATHS = [path for path in SHARE_PATHS if "{photo_id}" in path]
PAGE = {"accept": "text/html"}


class Link:
    """A share, its link, and the header with its cookie."""

    def __init__(self, database: Database, client: TestClient, photos: PhotoQuery | list[int]) -> None:
        new = NewShare(photos, "Our trip", datetime.now(UTC) + timedelta(days=2))
        self.share: Share
        self.share, self.token = add_share(database, new, {})
        self.address = f"/shared/{self.share.id}"
        response = client.get(f"/s/{self.token}")
        assert response.status_code == 303
        assert response.headers["location"] == self.address
        self.set_cookie = response.headers["set-cookie"]
        client.cookies.clear()
        self.cookie = {"cookie": self.set_cookie.partition(";")[0]}


class SlowCounts:
    """Counts that take until `release`. `most`: how many there were at once."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def sections(self, _share: Share) -> list[Section]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.release.wait(60)
        with self._lock:
            self.now -= 1
        return []


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "secret-folder")
    taken_at = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - cameras know no time zone
    library.file("paris.jpg", (EIFFEL, 0.9, True), data=picture((9, 9, 200)), taken_at=taken_at)
    library.file("night.jpg", (EIFFEL, 0.8, True), data=picture((9, 200, 9)))
    library.file("berlin.jpg", (GATE, 0.9, True), data=picture((200, 9, 9)))
    return library


@pytest.fixture
def visitor(client_with_token: TestClient, library: LibraryPhotos) -> TestClient:
    """A client that has not signed in."""
    return client_with_token


@pytest.fixture
def link(web_database: Database, visitor: TestClient) -> Link:
    return Link(web_database, visitor, PhotoQuery(landmark=EIFFEL))


def paths_of(share: int, photo: int) -> Iterator[str]:
    for path in SHARE_PATHS:
        yield path.format(share_id=share, photo_id=photo)


def tiles_of(page: httpx.Response) -> list[int]:
    return [int(number) for number in re.findall(r'data-photo="(\d+)"', page.text)]


def get(client: TestClient, path: str, link: Link, **headers: str) -> httpx.Response:
    return client.get(path, headers=PAGE | link.cookie | headers)


def test_a_visitor_sees_the_photos_of_the_share(visitor: TestClient, link: Link) -> None:
    page = get(visitor, link.address, link)
    assert page.status_code == 200
    assert "Our trip" in page.text
    assert tiles_of(page) == [1, 2]
    assert "noindex" in page.headers["x-robots-tag"]
    assert page.headers["cache-control"] == "private, no-store"
    for path in paths_of(link.share.id, 1):
        assert get(visitor, path, link).status_code == 200, path
    image = get(visitor, f"{link.address}/photos/1/preview", link)
    assert image.headers["content-type"] == "image/webp"
    assert image.headers["cache-control"] == "private, no-cache"
    listed = visitor.get(f"{link.address}/timeline/photos", headers=link.cookie).json()
    assert [photo["file"] for photo in listed["photos"]] == ["paris.jpg", "night.jpg"]


def test_a_visitor_learns_no_paths_or_scores(visitor: TestClient, link: Link) -> None:
    for path in paths_of(link.share.id, 1):
        text = get(visitor, path, link).text
        for secret in ("secret-folder", str(Path.home()), "90%", "0.9", link.token):
            assert secret not in text, (path, secret)


def test_other_photos_are_refused(visitor: TestClient, link: Link) -> None:
    odd = ({}, {"range": "bytes=0-10"}, {"if-none-match": "*"}, {"accept": "image/*"})
    for path, photo, headers in product(PHOTO_PATHS, (3, 4, 2**62), odd):
        address = path.format(share_id=link.share.id, photo_id=photo)
        response = visitor.get(address, headers=link.cookie | headers)
        assert response.status_code == 404, (address, headers)
        assert "image/" not in response.headers["content-type"]
        assert visitor.head(address, headers=link.cookie).status_code == 404, address


@pytest.mark.parametrize("path", SHARE_PATHS)
def test_only_the_cookie_of_the_share_opens_it(
    visitor: TestClient, web_database: Database, link: Link, path: str
) -> None:
    other = Link(web_database, visitor, PhotoQuery(landmark=GATE))
    address = path.format(share_id=link.share.id, photo_id=1)
    name = link.cookie["cookie"].partition("=")[0]
    for cookie in ("", other.cookie["cookie"], f"{name}=", f"{name}={link.share.id}", f"{name}=x; {name}="):
        assert visitor.get(address, headers={"cookie": cookie}).status_code == 404, cookie
    for token in (link.token, TOKEN):  # people who signed in need the link too
        bearer = {"authorization": f"Bearer {token}"}
        assert visitor.get(address, headers=bearer).status_code == 404


def test_a_share_that_has_ended_shows_nothing(
    visitor: TestClient, web_database: Database, link: Link
) -> None:
    addresses = list(paths_of(link.share.id, 1))
    etags = [get(visitor, address, link).headers.get("etag", "x") for address in addresses]
    with web_database.write() as connection:
        connection.execute(update(shares).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    expired = visitor.get(f"/s/{link.token}", headers=PAGE)
    assert (expired.status_code, "set-cookie" in expired.headers) == (410, False)
    revoke_share(web_database, link.share.id)
    for address, etag in zip(addresses, etags, strict=True):
        for headers in ({}, {"if-none-match": etag}):
            response = get(visitor, address, link, **headers)
            assert response.status_code == 410, address
            assert "no longer valid" in response.text
        assert visitor.head(address, headers=link.cookie).status_code == 410, address


def test_no_other_address_knows_the_visitor(visitor: TestClient, link: Link) -> None:
    """Also an address that is added later."""
    for number, path in enumerate(OTHER_PATHS):
        address = with_numbers(path)
        # From one machine, wrong tokens are refused after a few.
        other = client_at(visitor.app, f"10.0.0.{number}")
        for headers in (link.cookie, {"authorization": f"Bearer {link.token}"}):
            assert other.get(address, headers=headers).status_code == 401, address
        page = get(other, address, link)
        assert page.status_code in {303, 401}, address
        assert page.headers.get("location", "/sign-in").startswith("/sign-in")


def test_visitors_change_nothing(visitor: TestClient, link: Link) -> None:
    for address in (*paths_of(link.share.id, 1), f"/s/{link.token}"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            response = visitor.request(method, address, headers=link.cookie | {"origin": LOCAL_URL})
            assert response.status_code == 405, (method, address)


def test_there_are_no_originals(visitor: TestClient, link: Link) -> None:
    for rest in ("image", "image?size=256", "file", "original", "similar", "../photos/1/image", "preview/"):
        assert get(visitor, f"{link.address}/photos/1/{rest}", link).status_code in {401, 404, 303}, rest
    assert get(visitor, f"{link.address}/photos", link).status_code == 404


def test_a_trip_is_shared_alone_and_also_when_it_grows(
    visitor: TestClient, web_database: Database, library: LibraryPhotos
) -> None:
    of_trip = add_trip(library)
    link = Link(web_database, visitor, PhotoQuery(trip=TRIP))
    assert tiles_of(get(visitor, link.address, link)) == of_trip
    for photo, status in ((of_trip[0], 200), (of_trip[-1], 200), (1, 404), (3, 404)):
        assert get(visitor, f"{link.address}/photos/{photo}/thumbnail", link).status_code == status
    library.gone(f"trip-20190503-10-{len(of_trip) - 1}.jpg")
    others = add_trip(library, datetime(2019, 5, 3, 11))  # noqa: DTZ001 - local time
    assert sorted(tiles_of(get(visitor, link.address, link))) == [*of_trip[:-1], *others]
    assert link.share.options == {"trip": TRIP}


def test_a_trip_that_is_merged_into_an_earlier_one_stays_shared(
    visitor: TestClient, web_database: Database, library: LibraryPhotos
) -> None:
    of_trip = add_trip(library)
    link = Link(web_database, visitor, PhotoQuery(trip=TRIP))
    before = add_trip(library, datetime(2019, 4, 20, 9))  # noqa: DTZ001 - local time
    with web_database.write() as connection:
        earlier, trip = all_trips(connection)
        merge_trips(connection, trip, earlier)
    assert tiles_of(get(visitor, link.address, link)) == [*before, *of_trip]
    (document,) = share_documents(web_database, [link.share])
    assert document.description == "trip Paris, 20 April \N{EN DASH} 5 May 2019"


def test_another_trip_of_the_same_day_is_not_shared(
    visitor: TestClient, web_database: Database, library: LibraryPhotos
) -> None:
    of_trip = add_trip(library)
    link = Link(web_database, visitor, PhotoQuery(trip=TRIP))
    for number in range(len(of_trip)):
        library.gone(f"trip-20190503-10-{number}.jpg")
    others = add_trip(library, datetime(2019, 5, 3, 11))  # noqa: DTZ001 - local time
    assert trip_summary(web_database, TRIP).photos == len(others)
    for photo in (of_trip[0], others[0]):
        for path in paths_of(link.share.id, photo):
            assert get(visitor, path, link).status_code == 410, path


def test_a_visitor_learns_no_guesses_and_dismissals(
    visitor: TestClient, web_database: Database, library: LibraryPhotos
) -> None:
    guessed = library.file("guessed.jpg", (EIFFEL, 0.56, False), data=picture((1, 2, 3)))
    dismissed = library.file("dismissed.jpg", (EIFFEL, 0.6, False), data=picture((4, 5, 6)))
    dismiss_photos(web_database, [dismissed], "ada")
    star_photos(web_database, [guessed], "ada", starred=True)
    link = Link(web_database, visitor, [guessed, dismissed])
    page = get(visitor, link.address, link).text
    assert re.findall(r'data-photo="(\d+)"', page) == [str(guessed), str(dismissed)]
    assert "Eiffel Tower?" not in page
    assert "Not a landmark" not in page
    assert "favourite" not in page


def test_a_merged_landmark_keeps_its_shares(visitor: TestClient, web_database: Database) -> None:
    tower = add_landmark(web_database, NewLandmark("Old tower")).slug
    give_verdicts(web_database, [3], tower, VerdictKind.CONFIRMED, None, {})
    link = Link(web_database, visitor, PhotoQuery(landmark=tower))
    merge_landmark(web_database, tower, EIFFEL)
    page = get(visitor, link.address, link)
    assert page.status_code == 200
    assert tiles_of(page) == [1, 2, 3]


def test_a_query_that_cannot_be_answered_ends_its_share_and_names_nothing(
    visitor: TestClient, web_database: Database, link: Link
) -> None:
    with web_database.write() as connection:
        connection.execute(insert(cameras).values(key="secret|camera", name="Secret camera"))
    odd: list[dict[str, object]] = [
        *({"camera": ["Kodak No. 1"]}, {"country": "Atlantis"}, {"job": 99}, {"model": "lost"}),
        *({"verdict": "a word of a later version"}, {"landmark": EIFFEL, "unknown": True}),
        {"landmark": "secret-tower"},
    ]
    for options in odd:
        with web_database.write() as connection:
            connection.execute(update(shares).values(options=options))
        for path in paths_of(link.share.id, 1):
            response = get(visitor, path, link)
            assert response.status_code == 410, (options, path)
            assert "no longer valid" in response.text
            assert "secret" not in response.text.lower()


def test_invalid_and_endless_requests_are_refused_and_end_no_share(visitor: TestClient, link: Link) -> None:
    assert get(visitor, f"{link.address}/timeline/photos?skip=100000", link).status_code == 422
    assert get(visitor, f"{link.address}?after=x", link).status_code == 400
    assert get(visitor, link.address, link).status_code == 200


def test_wrong_links_are_limited_and_right_ones_go_on(visitor: TestClient, link: Link) -> None:
    for number in range(MAX_ATTEMPTS):
        wrong = visitor.get(f"/s/{number:043d}", headers=PAGE)
        assert wrong.status_code == 404
        assert "Sign in" not in wrong.text
    limited = visitor.get(f"/s/{9:043d}", headers=PAGE)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "60")
    name = link.cookie["cookie"].partition("=")[0]
    wrong_cookie = visitor.get(link.address, headers={"cookie": f"{name}={8:043d}"})
    assert wrong_cookie.status_code == 429
    assert get(visitor, link.address, link).status_code == 200
    assert visitor.get(f"/s/{link.token}").status_code == 303


def test_the_cookie_is_for_the_share_alone(link: Link) -> None:
    attributes = {part.strip().lower() for part in link.set_cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", f"path={link.address}"} <= attributes
    (age,) = (int(part.partition("=")[2]) for part in attributes if part.startswith("max-age"))
    assert 0 < age <= 2 * 24 * 3600


def test_the_cookie_is_for_https_alone_if_the_link_is(web_settings: Settings, web_database: Database) -> None:
    """Behind a proxy that is not trusted: browsers send no Origin header as they open a link."""
    settings = web_settings.model_copy(update={"web_url": "https://photos.example"})
    policy = AccessPolicy("0.0.0.0", 8080, TOKEN, settings.web_upload_bytes)
    visitor = TestClient(create_app(settings, web_database, policy), follow_redirects=False)
    _, token = add_share(web_database, NewShare(PhotoQuery(), "All", None), {})
    for headers, is_secure in (
        ({"host": "photos.example"}, True),
        ({"host": "Photos.example:443"}, True),
        ({"host": "photos.example", "origin": "http://photos.example"}, False),
        ({"host": "127.0.0.1:8080"}, False),
        ({"host": "127.0.0.1:8080", "origin": "https://127.0.0.1:8080"}, True),
    ):
        response = visitor.get(f"/s/{token}", headers=headers)
        assert response.status_code == 303, headers
        assert ("secure" in response.headers["set-cookie"].lower()) == is_secure, headers


def test_visitors_leave_threads_to_people_who_signed_in(
    visitor: TestClient, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than wait are asked to come back."""
    application: FastAPI = visitor.app  # type: ignore[assignment]
    limiter = RequestLimiter("Try again.", at_once=2, waiting=3)
    monkeypatch.setattr(application.state, "visitor_limiter", limiter)
    counts = SlowCounts()
    monkeypatch.setattr(application.state.shared_photos, "sections", counts.sections)
    with ThreadPoolExecutor(6) as pool:
        address = f"{link.address}/timeline"
        answers = [pool.submit(visitor.get, address, headers=link.cookie) for _ in range(5)]
        wait_until(lambda: (limiter.waiting, counts.now) == (3, 2))
        refused = get(visitor, address, link)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "Try again" in refused.text
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert visitor.get("/api/landmarks", headers=bearer).status_code == 200
        counts.release.set()
        assert [answer.result().status_code for answer in answers] == [200] * 5
    assert counts.most == 2


def test_the_token_is_in_no_log(
    visitor: TestClient, web_database: Database, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="tagger")
    response = visitor.get(f"/s/{link.token}")
    assert response.headers["referrer-policy"] == "no-referrer"
    get(visitor, link.address, link)
    visitor.get(f"/s/{link.token[:-1]}x")
    assert link.token[:20] not in caplog.text
    entries = list_entries(web_database, AuditFilter(), 100)
    assert entries[0].action == "share-add"
    assert link.token[:20] not in repr(entries)


def archive_of(response: httpx.Response) -> ZipFile:
    assert (response.status_code, response.headers["content-type"]) == (200, "application/zip")
    assert "content-encoding" not in response.headers
    return ZipFile(io.BytesIO(response.content))


def test_a_share_is_downloaded_as_jpegs_without_metadata(
    visitor: TestClient, web_database: Database, library: LibraryPhotos
) -> None:
    taken_at = datetime(1979, 1, 2)  # noqa: DTZ001 - cameras know no time zone
    library.file(
        "webp/Paris.webp", (EIFFEL, 0.7, True), data=picture((7, 7, 7), kind="WEBP"), taken_at=taken_at
    )
    link = Link(web_database, visitor, PhotoQuery(landmark=EIFFEL))
    single = get(visitor, f"{link.address}/photos/4/download", link)
    assert single.headers["content-disposition"].startswith('attachment; filename="Paris.jpg"')
    with archive_of(get(visitor, f"{link.address}/download", link)) as archive:
        times = {entry.filename: entry.date_time for entry in archive.infolist()}
        assert {entry.compress_type for entry in archive.infolist()} == {ZIP_STORED}
        assert times == {
            "paris.jpg": (2026, 1, 2, 3, 4, 0),
            "4/Paris.jpg": (1980, 1, 1, 0, 0, 0),
            "night.jpg": (1980, 1, 1, 0, 0, 0),
        }
        jpegs = [archive.read(name) for name in times]
    assert single.content in jpegs
    for jpeg in jpegs:
        image = Image.open(io.BytesIO(jpeg))
        assert (image.format, dict(image.getexif()), "exif" in image.info) == ("JPEG", {}, False)


def test_a_download_of_a_share_ends_with_it(
    visitor: TestClient, web_database: Database, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = photo_images.download

    async def create_and_revoke(state: AppState, photo: StoredPhoto) -> bytes:
        revoke_share(web_database, link.share.id)
        return await created(state, photo)

    monkeypatch.setattr(photo_images, "download", create_and_revoke)
    cut = get(visitor, f"{link.address}/download", link).content
    assert b"paris.jpg" in cut
    assert b"night.jpg" not in cut
    assert get(visitor, f"{link.address}/download", link).status_code == 410


def test_a_share_of_too_many_photos_is_not_downloaded_at_once(
    visitor: TestClient, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f'href="{link.address}/download"' in get(visitor, link.address, link).text
    monkeypatch.setattr(shared, "MOST_ARCHIVED", 1)
    assert f'href="{link.address}/download"' not in get(visitor, link.address, link).text
    assert get(visitor, f"{link.address}/download", link).status_code == 422


def test_a_file_that_is_away_names_no_folder(visitor: TestClient, link: Link, library: LibraryPhotos) -> None:
    library.root.rename(library.root.with_name("elsewhere"))
    for path in ("thumbnail", "preview", "download"):
        response = visitor.get(f"{link.address}/photos/1/{path}", headers=link.cookie)
        assert response.status_code == 404
        assert "folder" not in response.text
    with archive_of(get(visitor, f"{link.address}/download", link)) as archive:
        assert archive.namelist() == ["missing.txt"]
        missing = archive.read("missing.txt").decode().splitlines()
    assert missing == [
        f"{name}.jpg: This photo cannot be shown now. Try again later." for name in ("paris", "night")
    ]
