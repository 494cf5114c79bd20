"""Dates and positions of files beside photos: whose counts, and what happens when they change."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rig.raw_files import RawContent, raw_file
from rig.xmp_packets import packet_of
from sqlalchemy import Row, select
from support.camera_photos import draw_shot
from support.databases import read_row, read_rows, read_scalar
from support.raw_pairs import PairFolder

from tagger.database import FactProblem
from tagger.database.tables import contents, photos, positions
from tagger.jobs.enqueue.photo_rows import unread_photos
from tagger.kept.update import update_kept
from tagger.photos.source import open_source

PARIS, SYDNEY = (48.8584, 2.2945), (-33.8568, 151.2153)
# Of the first shot, which has no time zone: 2024-05-03 12:00:00.
NOON, NOON_UTC = "2024-05-03 12:00:00", 1714737600
HOUR = 3600
CAPTURED, CREATED = "exif:DateTimeOriginal", "xmp:CreateDate"


def takeout(
    position: tuple[float, float] | None = PARIS,
    timestamp: int = 1563140283,
    of_camera: tuple[float, float] | None = None,
) -> str:
    geo, geo_exif = (
        {"latitude": latitude, "longitude": longitude, "altitude": 0.0}
        for latitude, longitude in (position or (0.0, 0.0), of_camera or (0.0, 0.0))
    )
    taken = {"timestamp": str(timestamp)}
    return json.dumps({"title": "a", "photoTakenTime": taken, "geoData": geo, "geoDataExif": geo_exif})


def sidecar(
    position: tuple[float, float] | None, taken_at: str | None = None, name: str = "xmp:CreateDate"
) -> str:
    fields = {name: taken_at} if taken_at else {}
    if position:
        fields |= {"exif:GPSLatitude": str(position[0]), "exif:GPSLongitude": str(position[1])}
    attributes = " ".join(f'{name}="{value}"' for name, value in fields.items())
    return packet_of("", attributes).decode()


@pytest.fixture
def folder(database, tmp_path) -> PairFolder:
    return PairFolder(database, tmp_path)


def row(folder: PairFolder, name: str) -> Row[Any]:
    return read_row(folder.database, select(photos).where(photos.c.path == name))


def facts(folder: PairFolder, name: str) -> tuple[str | None, str, tuple[float, float] | None, str]:
    found = row(folder, name)
    position = None if found.latitude is None else (round(found.latitude, 4), round(found.longitude, 4))
    taken_at = None if found.taken_at is None else str(found.taken_at)
    return taken_at, found.taken_source, position, found.gps_source


def sources(folder: PairFolder) -> dict[str, str]:
    update_kept(folder.database)
    query = select(photos.c.path, positions.c.source).join(positions, positions.c.photo_id == photos.c.id)
    return {row.path: row.source for row in read_rows(folder.database, query)}


def test_the_photo_comes_first_then_sidecars_takeout_and_the_name(folder):
    names = ("IMG_20180101.jpg", "IMG_20180102.jpg", "IMG_20180103.jpg", "IMG_20180104.jpg")
    camera, beside, takeout_only, named = names
    draw_shot(folder.folder / camera, 0, gps=(10.0, 20.0))
    for name in (beside, takeout_only, named):
        draw_shot(folder.folder / name, None)
    for name in (camera, beside):
        (folder.folder / f"{name}.xmp").write_text(sidecar(SYDNEY, "2017-05-06T07:08:09"))
    for name in (camera, beside, takeout_only):
        (folder.folder / f"{name}.json").write_text(takeout())
    folder.tag()
    assert facts(folder, camera) == ("2024-05-03 12:00:00", "camera", SYDNEY, "sidecar")
    assert facts(folder, beside) == ("2017-05-06 07:08:09", "sidecar", SYDNEY, "sidecar")
    assert facts(folder, takeout_only) == ("2019-07-14 23:38:03", "takeout", PARIS, "takeout")
    assert row(folder, takeout_only).utc_offset_s == 7200
    assert facts(folder, named) == ("2018-01-04 00:00:00", "name", None, "camera")
    assert sources(folder) == {camera: "sidecar", beside: "sidecar", takeout_only: "takeout"}


@pytest.mark.parametrize(
    ("with_photo", "with_json"),
    [
        ("takeout-001/Takeout", "takeout-002/Takeout"),
        ("Takeout 2", "Takeout"),
        ("part 2/Takeout", "part 1/Takeout"),
    ],
)
def test_parts_of_a_takeout_are_read_as_one(folder, with_photo, with_json):
    photo, beside, other = (
        folder.folder / part / "Google Photos" / "Photos from 2019"
        for part in (with_photo, with_json, "Takeout Bob")
    )
    for part in (photo, beside, other):
        part.mkdir(parents=True)
    for file in (photo / "IMG_1.jpg", photo / "IMG_2-edited.jpg", photo / "IMG_3.jpg", beside / "IMG_2.jpg"):
        draw_shot(file, None)
    for file in (beside / "IMG_1.jpg.json", beside / "IMG_2.jpg.json", other / "IMG_3.jpg.json"):
        file.write_text(takeout())
    draw_shot(beside / "IMG_3.jpg", 1)
    (beside / "IMG_3.jpg.json").write_text(takeout())
    folder.tag()
    of_json = ("2019-07-14 23:38:03", "takeout", PARIS, "takeout")
    inner = "Google Photos/Photos from 2019"
    for name in ("IMG_1.jpg", "IMG_2-edited.jpg"):
        assert facts(folder, f"{with_photo}/{inner}/{name}") == of_json
    # Both have a photo of this name, so they are not of one archive.
    assert facts(folder, f"{with_photo}/{inner}/IMG_3.jpg") == (None, "camera", None, "camera")

    # A change in the other part counts, and a scan of one part alone forgets nothing.
    (beside / "IMG_1.jpg.json").write_text(takeout(SYDNEY))
    folder.tag(photo)
    assert facts(folder, f"{with_photo}/{inner}/IMG_1.jpg")[2] == SYDNEY
    assert folder.unseen() == []


def test_the_dates_of_icloud_are_read_from_the_table_beside_photos(folder):
    for name in ("IMG_1.JPG", "IMG_2.jpg", "IMG_3.jpg"):
        draw_shot(folder.folder / name, None)
    draw_shot(folder.folder / "IMG_4.jpg", 0)
    draw_shot(folder.folder / "IMG_5.jpg", 1)
    header = "imgName,fileChecksum,favorite,hidden,deleted,originalCreationDate,viewCount,importDate\n"
    at = "Friday June 5,2015 12:11 PM GMT"
    quoted = f'"{at}",10,"Saturday June 4,2022 12:11 PM GMT"'
    (folder.folder / "Photo Details.csv").write_text(
        f"\ufeff{header}img_1.jpg,AfQj,no,no,no,{quoted}\nIMG_2.jpg,AfQj,no,no,no,{at},10,{at}\n"
    )
    (folder.folder / "Photo Details-1.csv").write_text(
        f"{header}IMG_3.jpg,A,no,no,no,{quoted}\nIMG_3.jpg,B,no,no,no,{quoted.replace('5,2015', '6,2015')}\n"
        f"IMG_4.jpg,A,no,no,no,{quoted}\nIMG_5.jpg,A,no,no,no,Friday May 3,2024 10:00 AM GMT,1,x\n"
    )
    folder.tag()
    of_table = ("2015-06-05 12:11:00", "takeout", None, "camera")
    assert [facts(folder, name) for name in ("IMG_1.JPG", "IMG_2.jpg", "IMG_4.jpg")] == [of_table] * 3
    # Two photos of one name, and the moment that the photo has too.
    assert facts(folder, "IMG_3.jpg")[0] is None
    assert facts(folder, "IMG_5.jpg")[1] == "camera"


def test_times_at_sea_are_those_of_the_longitude(folder):
    draw_shot(folder.folder / "a.jpg", None)
    (folder.folder / "a.jpg.json").write_text(takeout((0.0, -30.0)))
    folder.tag()
    assert facts(folder, "a.jpg") == ("2019-07-14 19:38:03", "takeout", (0.0, -30.0), "takeout")
    assert row(folder, "a.jpg").utc_offset_s == -7200


def test_the_files_of_ente_are_in_a_folder_beside_photos(folder):
    document = {"title": "a", "creationTime": {"timestamp": 1563140283}, "modificationTime": {"timestamp": 1}}
    document["geoData"] = {"latitude": PARIS[0], "longitude": PARIS[1]}
    (folder.folder / "album" / "metadata").mkdir(parents=True)
    for name in ("IMG_1.jpg", "IMG_1(1).jpg"):
        draw_shot(folder.folder / "album" / name, None)
        file = folder.folder / "album" / "metadata" / f"{name}.json"
        file.write_text(json.dumps(document))
    folder.tag()
    for name in ("album/IMG_1.jpg", "album/IMG_1(1).jpg"):
        assert facts(folder, name) == ("2019-07-14 23:38:03", "takeout", PARIS, "takeout")
    document["geoData"] = {"latitude": SYDNEY[0], "longitude": SYDNEY[1]}
    file.write_text(json.dumps(document))
    folder.tag()
    assert facts(folder, "album/IMG_1(1).jpg")[2] == SYDNEY


def test_each_fact_comes_from_the_first_that_states_it(folder):
    draw_shot(folder.folder / "a.jpg", 0)
    draw_shot(folder.folder / "b.jpg", None, gps=SYDNEY)
    draw_shot(folder.folder / "c.jpg", None)
    (folder.folder / "a.jpg.json").write_text(takeout(timestamp=NOON_UTC))
    (folder.folder / "b.jpg.json").write_text(takeout(of_camera=PARIS))
    (folder.folder / "c.jpg.json").write_text(takeout(None))
    folder.tag()
    assert facts(folder, "a.jpg") == ("2024-05-03 12:00:00", "camera", PARIS, "takeout")
    assert facts(folder, "b.jpg") == ("2019-07-15 07:38:03", "takeout", SYDNEY, "camera")
    assert facts(folder, "c.jpg") == ("2019-07-14 21:38:03", "takeout", None, "camera")
    assert row(folder, "c.jpg").utc_offset_s == 0  # in UTC, as nothing says where


OWN = (NOON, "camera", SYDNEY, "camera")


EXIFTOOL = json.dumps(
    [
        {
            "EXIF:DateTimeOriginal": "1975:06:30 15:00:00",
            "EXIF:GPSLatitude": "48 deg 51' 30.24\" N",
            "EXIF:GPSLongitude": PARIS[1],
            "EXIF:GPSLongitudeRef": "East",
        }
    ]
)
# Files beside a photo, and what follows.
CORRECTIONS: list[tuple[str, str, tuple[Any, ...]]] = [
    # What a person corrected in a program that does not change photos
    ("xmp", sidecar(None, "1975-06-30T15:00:00", CAPTURED), ("1975-06-30 15:00:00", "sidecar", *OWN[2:])),
    (
        "xmp",
        sidecar(None, "2024-05-03T13:00:00+01:00", CAPTURED),
        ("2024-05-03 13:00:00", "sidecar", *OWN[2:]),
    ),
    ("xmp", sidecar(PARIS), (NOON, "camera", PARIS, "sidecar")),
    ("json", takeout(None, 173286000), ("1975-06-30 01:00:00", "takeout", *OWN[2:])),
    ("json", takeout(PARIS, NOON_UTC), (NOON, "camera", PARIS, "takeout")),
    ("json", EXIFTOOL, ("1975-06-30 15:00:00", "sidecar", PARIS, "sidecar")),
    # What repeats the photo, as far as formats keep it, or says when a file was made
    ("xmp", sidecar((-33.85681, 151.21531), "2024-05-03T12:00", CAPTURED), OWN),
    ("xmp", sidecar(None, "2024-05-03", CAPTURED), OWN),
    ("xmp", sidecar(None, "2024-05-03T02:00:00Z", CAPTURED), OWN),
    ("xmp", sidecar(None, "2020-01-01T00:00:00", CREATED), OWN),
    ("json", takeout(SYDNEY, NOON_UTC - 10 * HOUR), OWN),
    ("json", takeout(PARIS, NOON_UTC, of_camera=PARIS), OWN),
]


def test_what_people_corrected_comes_before_what_is_embedded(folder):
    expected = {}
    for number, (extension, content, found) in enumerate(CORRECTIONS):
        draw_shot(folder.folder / f"{number}.jpg", 0, gps=SYDNEY)
        (folder.folder / f"{number}.jpg.{extension}").write_text(content)
        expected[f"{number}.jpg"] = found
    folder.tag()
    assert {name: facts(folder, name) for name in expected} == expected
    corrected = {name for name in expected if row(folder, name).own_facts}
    assert corrected == {name for name, found in expected.items() if found != OWN}
    for number, (extension, _, _) in enumerate(CORRECTIONS):
        (folder.folder / f"{number}.jpg.{extension}").unlink()
    folder.tag()
    assert {facts(folder, name) for name in expected} == {OWN}
    assert not any(row(folder, name).own_facts for name in expected)


def test_a_changed_side_file_changes_the_facts_and_the_photo_is_not_classified_again(folder):
    draw_shot(folder.folder / "IMG_20180104.jpg", None)
    folder.tag()
    file = folder.folder / "IMG_20180104.jpg.json"
    classified_at = read_scalar(folder.database, select(contents.c.classified_at))
    expected = [
        (takeout(), ("2019-07-14 23:38:03", "takeout", PARIS, "takeout")),
        (takeout(SYDNEY), ("2019-07-15 07:38:03", "takeout", SYDNEY, "takeout")),
        (None, ("2018-01-04 00:00:00", "name", None, "camera")),
    ]
    for content, found in expected:
        if content is None:
            file.unlink()
        else:
            file.write_text(content)
        assert folder.tag() == {"IMG_20180104.jpg": "skipped"}
        assert facts(folder, "IMG_20180104.jpg") == found
        assert sources(folder) == ({} if content is None else {"IMG_20180104.jpg": "takeout"})
    assert read_scalar(folder.database, select(contents.c.classified_at)) == classified_at


def test_a_photo_that_loses_its_own_facts_has_those_of_its_side_file(folder):
    draw_shot(folder.folder / "a.jpg", 0, gps=SYDNEY)
    (folder.folder / "a.jpg.json").write_text(takeout())
    folder.tag()
    draw_shot(folder.folder / "a.jpg", None)
    folder.tag()
    assert facts(folder, "a.jpg") == ("2019-07-14 23:38:03", "takeout", PARIS, "takeout")


def test_the_sidecar_of_a_raw_file_says_where_the_pair_was_taken(folder):
    folder.draw_raw("IMG_1.CR3")
    draw_shot(folder.folder / "IMG_1.jpg", None)
    (folder.folder / "IMG_1.xmp").write_text(sidecar(PARIS))
    folder.tag()
    assert facts(folder, "IMG_1.jpg")[2:] == (PARIS, "sidecar")
    (folder.folder / "IMG_1.xmp").write_text(sidecar(SYDNEY))
    assert folder.tag() == {"IMG_1.jpg": "skipped"}
    assert facts(folder, "IMG_1.jpg")[2:] == (SYDNEY, "sidecar")
    (folder.folder / "IMG_1.jpg").unlink()
    folder.tag()
    assert facts(folder, "IMG_1.CR3")[2:] == (SYDNEY, "sidecar")


@pytest.mark.parametrize("content", ["{", "[" * 100_000, " " * 2**20 + "{}", ""])
def test_a_side_file_that_cannot_be_read_is_noted_and_fails_nothing(folder, content):
    draw_shot(folder.folder / "a.jpg", None)
    (folder.folder / "a.jpg.json").write_text(content)
    job = folder.record()
    folder.run(job)
    assert folder.outcomes(job) == {"a.jpg": "unknown"}
    with folder.database.read() as connection:
        assert unread_photos(connection, job) == {FactProblem.SIDE_FILE: ["a.jpg"]}
    (folder.folder / "a.jpg.json").write_text(takeout())
    again = folder.record()
    with folder.database.read() as connection:
        assert unread_photos(connection, again) == {}


def test_a_date_that_cannot_be_read_is_noted_unless_another_file_has_one(folder):
    for name in ("a.jpg", "b.jpg"):
        draw_shot(folder.folder / name, None)
        (folder.folder / f"{name}.xmp").write_text(sidecar(None, "22/08/2015"))
    (folder.folder / "b.jpg.json").write_text(takeout())
    job = folder.record()
    folder.run(job)
    with folder.database.read() as connection:
        assert unread_photos(connection, job) == {FactProblem.DATE: ["a.jpg"]}


def test_a_photo_named_alone_has_its_side_file_and_a_watch_sees_its_change_once(folder):
    photo = draw_shot(folder.folder / "a.jpg", None)
    (folder.folder / "a.jpg.json").write_text(takeout())
    folder.tag(photo)
    assert facts(folder, "a.jpg")[1] == "takeout"
    folder.tag()
    assert folder.unseen() == []
    (folder.folder / "a.jpg.json").write_text(takeout())
    assert folder.unseen() == ["a.jpg"]
    folder.tag(photo)
    assert folder.unseen() == []


def test_a_side_file_is_no_file_that_is_left_out(folder):
    draw_shot(folder.folder / "a.jpg", None)
    for name in ("a.jpg.json", "metadata.json", "a.mov"):
        (folder.folder / name).write_text(takeout())
    folder.record()
    assert folder.report.other_files.by_extension == {".json": 1, ".mov": 1}


def test_objects_have_side_files_too(photos, bucket):
    def put(timestamp: int) -> None:
        bucket.put("IMG_1.jpg.supplemental-metadata(1).json", takeout(timestamp=timestamp).encode())

    latitudes = {
        "IMG_1(1).jpg": PARIS[0],
        "IMG_1-edited.jpg": SYDNEY[0],
        "IMG_1.jpg": SYDNEY[0],
        "IMG_2.jpg": None,
    }
    for name in latitudes:
        photos.draw(name, 0)
    put(1563140283)
    bucket.put("IMG_1.jpg.json", takeout(SYDNEY).encode())
    photos.tag_bucket()
    assert {name: photos.photo(name).latitude for name in latitudes} == pytest.approx(latitudes)
    put(1563140284)
    assert photos.tag_bucket()["IMG_1(1).jpg"] == "skipped"
    assert photos.photo("IMG_1(1).jpg").taken_at == datetime(2019, 7, 14, 23, 38, 4)  # noqa: DTZ001


def test_side_files_are_found_without_a_check_for_each_photo(folder, monkeypatch):
    for number in range(5):
        draw_shot(folder.folder / f"{number}.jpg", None)
    (folder.folder / "0.jpg.json").write_text(takeout())
    checked: list[str] = []
    stat = os.stat
    monkeypatch.setattr(
        os, "stat", lambda path, **options: checked.append(str(path)) or stat(path, **options)
    )
    list(open_source(str(folder.folder)).photos())
    in_folder = [Path(path).name for path in checked if path.startswith(f"{folder.folder}/")]
    assert sorted(in_folder) == ["0.jpg", "0.jpg.json", *(f"{number}.jpg" for number in range(1, 5))]


def stated_orientation(value: object) -> str:
    return sidecar(None).replace(
        'rdf:about=""', f'rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{value}"'
    )


def colours(folder: PairFolder, name: str) -> bytes:
    query = select(contents.c.colours).join(photos, photos.c.content_id == contents.c.id)
    found = read_scalar(folder.database, query.where(photos.c.path == name))
    assert isinstance(found, bytes)
    return found


def test_a_raw_file_is_turned_as_its_sidecar_says(folder):
    for name, orientation in (("beside", 6), ("six", 6), ("eight", 8)):
        content = RawContent(orientation=orientation, sensor=name.encode() * 999)
        (folder.folder / f"{name}.dng").write_bytes(raw_file("dng", content))
    (folder.folder / "beside.xmp").write_text(stated_orientation(8))
    folder.tag()
    assert colours(folder, "beside.dng") == colours(folder, "eight.dng") != colours(folder, "six.dng")


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_an_orientation_in_a_sidecar_alone_turns_what_is_classified(folder, orientation):
    image = Image.new("RGB", (90, 90), "red")
    image.paste("blue", (0, 0, 30, 90))
    image.paste("lime", (0, 0, 30, 30))
    stated = Image.Exif()
    stated[274] = orientation
    upright = Image.Exif()
    upright[274] = 1
    image.save(folder.folder / "exif.png", exif=stated)
    image.save(folder.folder / "beside.png")
    image.save(folder.folder / "stem.webp", lossless=True)
    image.save(folder.folder / "wrong.bmp")
    image.putpixel((89, 89), (254, 0, 0))  # another image, which classification does not tell apart
    image.save(folder.folder / "both.png", exif=upright)
    for name in ("beside.png.xmp", "stem.xmp", "both.png.xmp"):
        (folder.folder / name).write_text(stated_orientation(orientation))
    (folder.folder / "wrong.bmp.xmp").write_text(stated_orientation(9))
    folder.tag()
    turned = colours(folder, "exif.png")
    assert turned != colours(folder, "wrong.bmp")
    assert colours(folder, "beside.png") == colours(folder, "stem.webp") == turned
    assert colours(folder, "both.png") == colours(folder, "wrong.bmp")
