"""Nothing that a visitor can load of a share says where its photos were taken, unless the share shows that.

Every route of shares is requested, with every parameter, also those that are added later.
"""

import base64
import binascii
import io
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from html import unescape
from itertools import chain, product
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode
from zipfile import ZipFile

import httpx2 as httpx
import pytest
from fastapi.dependencies.models import Dependant
from PIL import Image
from sqlalchemy import insert
from starlette.testclient import TestClient
from support.camera_photos import gps_tags
from support.library_photos import LibraryPhotos
from support.page_server import TOKEN
from support.web_routes import ROUTES

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.tables import cameras
from tagger.errors import CursorInvalid
from tagger.landmarks.edits import NewLandmark, add_landmark
from tagger.positions.update import update_positions
from tagger.query.cursors import decode_cursor
from tagger.query.trip_summaries import trip_summaries
from tagger.settings import Settings
from tagger.shares import find_share
from tagger.tags.contents import record_photos
from tagger.verdicts.service import give_verdicts
from tagger.web.http.attempt_limiter import is_for_visitors
from tagger.web.pages import shared

HOME, REGION, COUNTRY = "Antananarivo", "Analamanga", "Madagas"
"""The country by what its English and German names have in common."""
LATITUDE, LONGITUDE = -18.91537, 47.53621
TOWNS = (LATITUDE, -18.7, -18.6)
"""Latitudes of the home and of two towns in the same region."""
PLACES = (HOME, REGION, COUNTRY, "-18.915", "47.536")
OWN_PLACE = "Our garden gate"
"""A landmark that the owner taught."""
ALWAYS_SHOWN = (OWN_PLACE, "IMG_000.jpg", "2024")
NEVER_SHOWN = (
    *("folder-marker", "exif-marker", "xmp-marker", "person-marker"),
    *("Landmarkville", "Landmarkistan"),
)
"""Where files are and what is in them, who decided, and where the landmark is."""
CHRISTMAS = datetime(2024, 12, 25, 9)  # noqa: DTZ001 - cameras know no time zone
DAYS, PHOTOS_OF_A_DAY = 2, 13

PATHS = sorted({route.path for route in ROUTES if is_for_visitors(route.path)})
ROUTE_OF = {route.path: route for route in ROUTES}
READERS = (
    {"accept": "text/html", "accept-language": "en"},
    {"accept": "application/json", "accept-language": "de"},
)
VALUES: dict[str, tuple[object, ...]] = {
    "month": ("2024-12", "none", "x"),
    "skip": (0, 3),
    "limit": (2, 1000),
    "size": (256, 512),
}
"""Values of the parameters of addresses, beside cursors."""
EXPECTED = (200, 303, 410)
"""With the last one, a month that is none is answered."""


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    """Two days with many photos, of a landmark that the owner taught, which are a trip."""
    library = LibraryPhotos(web_database, web_settings, tmp_path / "folder-marker")
    own = NewLandmark(
        OWN_PLACE, country="Landmarkistan", city="Landmarkville", position=(LATITUDE, LONGITUDE)
    )
    with web_database.write() as connection:
        camera = connection.execute(
            insert(cameras).values(key="camera", name="camera").returning(cameras.c.id)
        ).scalar_one()
    slug = add_landmark(web_database, own).slug
    ids = []
    for day, number in product(range(DAYS), range(PHOTOS_OF_A_DAY)):
        columns = {"taken_at": CHRISTMAS + timedelta(days=day, minutes=30 * number), "camera_id": camera}
        if number != 1:  # the second photo of a day is located by its landmark
            # The second day has no city with most of its photos: its heading names the region.
            columns |= {"latitude": TOWNS[day and number % 3], "longitude": LONGITUDE}
        data = picture_with_metadata((10 * number, 120 * day, 77))
        ids.append(library.file(f"IMG_{day}{number:02}.jpg", data=data, **columns))
    with web_database.write() as connection:
        record_photos(connection, ids)
    give_verdicts(web_database, ids, slug, VerdictKind.CONFIRMED, "person-marker", {})
    update_positions(web_database)
    return library


def picture_with_metadata(colour: tuple[int, int, int]) -> bytes:
    """A JPEG whose EXIF and XMP have a position and names of places."""
    exif = Image.Exif()
    exif[0x010E] = "exif-marker"
    exif.get_ifd(0x8825).update(gps_tags(LATITUDE, LONGITUDE))
    out = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(out, "JPEG", exif=exif, xmp=b"<x:xmpmeta>xmp-marker</x:xmpmeta>")
    return out.getvalue()


class Visitor:
    """Somebody with the link of a share, and all that they can load."""

    def __init__(self, client: TestClient, query: dict[str, object], photos: list[int], **body: Any) -> None:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        body |= {} if query else {"photos": photos}
        made = client.post(f"/api/shares?{urlencode(query)}", json=body, headers=bearer).json()
        self.token: str = made["link"].rpartition("/")[2]
        self._client = client
        self._numbers = {"share_id": made["id"], "token": self.token}
        self._photos = photos
        cookie = self.get(f"/s/{self.token}").headers["set-cookie"].partition(";")[0]
        client.cookies.clear()
        self._cookie = {"cookie": cookie}

    def get(self, address: str, **headers: str) -> httpx.Response:
        return self._client.get(address, headers=headers)

    def everything(self) -> dict[str, str]:
        """What is to be read in the responses of each route."""
        read = {path: "".join(map(self._read, self._addresses(path))) for path in PATHS}
        cursors = re.findall(r'(?:after=|"next": ?")([\w-]{20,})', "".join(read.values()))
        assert cursors
        for path in PATHS:
            if "after" in parameters_of(ROUTE_OF[path].dependant):
                address = path.format(**self._numbers)
                read[path] += "".join(self._read(f"{address}?after={cursor}") for cursor in cursors[:2])
        return read

    def timeline(self) -> dict[str, Any]:
        """The first photo of the timeline, and the cursor of the next one."""
        address = f"/shared/{self._numbers['share_id']}/timeline/photos?limit=1"
        document: dict[str, Any] = self.get(address, **self._cookie).json()
        return document

    def _addresses(self, path: str) -> Iterator[str]:
        parameters = sorted(parameters_of(ROUTE_OF[path].dependant) - {"after"})
        for photo in self._photos if "{photo_id}" in path else self._photos[:1]:
            address = path.format(photo_id=photo, **self._numbers)
            yield address
            yield from (f"{address}?{name}={value}" for name in parameters for value in VALUES[name])

    def _read(self, address: str) -> str:
        read = ""
        for headers in READERS:
            response = self.get(address, **headers, **self._cookie)
            assert response.status_code in EXPECTED, (address, response.text)
            read += readable(response)
            if response.headers.get("content-type", "").startswith(("image/", "application/zip")):
                break  # it has no language
        return read


def parameters_of(dependant: Dependant) -> set[str]:
    """The parameters in the address that a route, and what it depends on, reads."""
    names = {field.alias for field in dependant.query_params}
    return names.union(*(parameters_of(each) for each in dependant.dependencies))


def readable(response: httpx.Response) -> str:
    """All that somebody can read in a response: its headers, texts, pictures, and what is encoded in them."""
    texts = [unquote(str(dict(response.headers)))]
    media_type = response.headers.get("content-type", "")
    if media_type.startswith("image/"):
        texts += texts_of_image(response.content)
    elif media_type == "application/zip":
        archive = ZipFile(io.BytesIO(response.content))
        texts.append(response.content.decode("latin-1"))
        texts += chain.from_iterable(texts_of_image(archive.read(name)) for name in archive.namelist())
    elif media_type.startswith("application/json"):
        texts.append(json.dumps(response.json(), ensure_ascii=False))
    else:
        texts.append(unquote(unescape(response.text)))
    encoded = re.findall(r"[\w+/-]{16,}", "\n".join(texts), re.ASCII)
    return "\n".join([*texts, *filter(None, map(decoded, encoded))])


def texts_of_image(data: bytes) -> Iterator[str]:
    image = Image.open(io.BytesIO(data))
    yield from (data.decode("latin-1"), repr(image.info), repr(dict(image.getexif())))
    yield repr(dict(image.getexif().get_ifd(0x8825)))


def decoded(text: str) -> str:
    """What a word says that may be base64."""
    with_padding = text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(with_padding, validate=True).decode("latin-1")
    except binascii.Error:
        return ""


def found(markers: tuple[str, ...], text: str) -> set[str]:
    return {marker for marker in markers if marker.lower() in text.lower()}


def queries(database: Database) -> Iterator[dict[str, object]]:
    (summary,) = trip_summaries(database)
    yield {"trip": summary.trip.id}
    yield {"landmark": OWN_PLACE}
    yield {"country": "Madagascar", "year": 2024}
    yield {"near": f"{LATITUDE},{LONGITUDE}", "radius_km": 100, "any_rank": 1}
    yield {}  # selected photos


def test_a_visitor_learns_no_place_from_any_route_unless_the_share_shows_places(
    library: LibraryPhotos,
    client_with_token: TestClient,
    web_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "PAGE_SIZE", 5)  # so that there are further pages
    photos = [1, 2, PHOTOS_OF_A_DAY + 1]
    for query in queries(web_database):
        # Those who see places come first: what is cached for them is not for others.
        seen = Visitor(client_with_token, query, photos, with_positions=True).everything()
        hidden = Visitor(client_with_token, query, photos).everything()
        for path in PATHS:
            assert found((*PLACES, *NEVER_SHOWN), hidden[path]) == set(), (query, path)
            assert found(NEVER_SHOWN, seen[path]) == set(), (query, path)
        # Headings of the few selected photos name no region.
        expected = set(PLACES) - (set() if query else {REGION})
        assert found(PLACES, "".join(seen.values())) == expected, query
        assert found(ALWAYS_SHOWN, "".join(hidden.values())) == set(ALWAYS_SHOWN), query


def test_a_cursor_confirms_no_guess_at_the_query_of_a_share(
    library: LibraryPhotos, client_with_token: TestClient, web_database: Database
) -> None:
    """A cursor has a hash of a query: that of a trip's would confirm a guess at its id, which has its place."""
    for query in queries(web_database):
        if query:
            visitor = Visitor(client_with_token, query, [1])
            cursor = visitor.timeline()["next"]
            share = find_share(web_database, visitor.token)
            assert share is not None
            with pytest.raises(CursorInvalid):
                decode_cursor(cursor, share.query)
