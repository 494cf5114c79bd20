"""`tagger query`, `landmarks` and `show` as a person types them, and as a script reads what they print."""
# ruff: noqa: DTZ001 - cameras know no time zone

import codecs
import csv
import io
import json
import os
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from support.databases import execute
from support.stored_photos import StoredPhotos

from tagger.database.tables import contents

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
CSV = (
    "path outcome digest width height taken_at taken_source dismissed favourite damaged things "
    "landmark name label score rank accepted verdict country latitude longitude model source doubtful "
    "position_odds distance_m reason position_latitude position_longitude position_error_m "
    "position_source position_country position_city position_sight"
)


@pytest.fixture
def known(sqlite_database, tmp_path) -> StoredPhotos:
    known = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    taken_at = datetime(2024, 5, 6, 7, 8, 9)
    known.photo("paris/a.jpg", (EIFFEL, 0.97, True), (GATE, 0.01, False), taken_at=taken_at, digest="a")
    known.photo("paris/palace.jpg", (VERSAILLES, 0.8, True))
    known.photo("berlin.jpg", (GATE, 0.9, True))
    known.photo("fog.jpg", (EIFFEL, 0.2, False))
    known.photo("new.jpg", classified=False)
    return known


def test_texts_and_options_both_hold_and_a_text_has_a_limit(tagger, known):
    output = tagger("query", "EIFFEL", "tower", "--year", "2024", "--format", "paths")
    assert (output.text, output.err) == (f"{known.root}/paris/a.jpg\n", "")
    assert "searching for: France, 2024\n" in tagger("query", "france", "2024").err
    similar = tagger("query", "eiffle", "--format", "paths")
    assert similar.text == f"{known.root}/paris/a.jpg\n"
    assert "searching for: Eiffel Tower\neiffle was read as Eiffel Tower." in similar.err
    assert "Did you mean Eiffel Tower?" in tagger("query", "ei", code=1).err
    assert "the text has one, too" in tagger("query", "eiffel tower", "--landmark", GATE, code=2).err
    assert "nothing in the library has this name" in tagger("query", "\ufdfa" * 200, code=1).err
    long = tagger("query", "\ufdfa" * 10_000, code=1)
    assert ("it is longer than 200 letters" in long.err, len(long.err) < 200) == (True, True)
    place = tagger("query", "--near", "\ufdfa" * 10_000)
    assert (place.code, "a place has at most 200 letters" in " ".join(place.err.split())) == (2, True)


def test_every_format_has_the_same_content_and_keys(tagger, known):
    output = tagger("query", "--landmark", "Eiffel Tower", "--json")
    assert (output.code, output.err) == (0, "")
    (photo,) = output.json
    (tag,) = photo["tags"]
    facts = (photo["path"], photo["taken_at"], photo["position"])
    assert facts == (str(known.root / "paris/a.jpg"), "2024-05-06T07:08:09", None)
    facts = tuple(tag[name] for name in ("landmark", "score", "latitude", "state", "verdict"))
    assert facts == (EIFFEL, 0.97, 48.8584, "accepted", None)
    photos = tagger("query", "--json").json
    paths = [photo["path"] for photo in photos]
    assert len(paths) == 3
    assert tagger("query", "--format", "json").json == photos
    lines = tagger("query", "--format", "ndjson").text.splitlines()
    assert [json.loads(line) for line in lines] == photos
    assert tagger("query", "--format", "paths").text.splitlines() == paths
    assert tagger("query", "-0").out == b"".join(path.encode() + b"\0" for path in paths)
    features = tagger("query", "--format", "geojson").json
    assert features["type"] == "FeatureCollection"
    assert [feature["properties"] for feature in features["features"]] == photos
    assert features["features"][0]["geometry"] == {"type": "Point", "coordinates": [2.2945, 48.8584]}
    table = tagger("query").text.splitlines()
    assert table[1].split("\t") == [paths[0], "Eiffel Tower", "0.9700", "", "France"]
    output = tagger("query", "--any-rank", "--format", "csv", "--under", known.root / "paris")
    rows = list(csv.DictReader(io.StringIO(output.out.decode(), newline="")))
    assert [(Path(row["path"]).name, row["landmark"], row["rank"], row["accepted"]) for row in rows] == [
        ("a.jpg", EIFFEL, "1", "true"),
        ("a.jpg", GATE, "2", "false"),
        ("palace.jpg", VERSAILLES, "1", "true"),
    ]
    assert (list(rows[0]), {row["position_latitude"] for row in rows}) == (CSV.split(), {""})
    for command in (("query", "--any-rank"), ("landmark", "list"), ("query", "--landmark", "nameless-hill")):
        plain = tagger(*command, "--format", "csv").out
        assert tagger(*command, "--format", "csv-bom").out == codecs.BOM_UTF8 + plain


def test_an_empty_answer_is_no_failure_and_names_the_nearest_full_one(tagger, known):
    output = tagger("query", "--landmark", "nameless-hill", "--json")
    assert (output.code, output.json) == (0, [])
    assert "no photo" in output.err
    unknown = tagger("query", "--landmark", "Eifel")
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)
    assert "Did you mean Eiffel Tower?" in unknown.err
    quiet = tagger("query", "--landmark", "nameless-hill", "-q", "--format", "geojson")
    assert (quiet.json["features"], quiet.err) == ([], "")

    for options, others in (
        ("--failed", "with --unknown: 1 photo, with --untagged: 1 photo, without --failed: 3 photos"),
        ("--country Germany --year 2024", "without --country: 1 photo, without --year: 1 photo"),
        ("--near 80,0", "without --near: 3 photos"),
        ("--country Germany 2024", 'without --country: 1 photo, without "2024": 1 photo'),
    ):
        said = tagger("query", *options.split()).err.splitlines()[-1]
        assert said == f"no photo matches; {others}"


def test_places_of_options_are_named_as_in_searches(tagger, known):
    def found(*words: object) -> list[str]:
        return [Path(line).name for line in tagger("query", *words, "--format", "paths").text.splitlines()]

    assert found("--country", "Frankreich") == found("--country", "FRANCE") == ["a.jpg", "palace.jpg"]
    assert found("--near", "eiffel tower", "--radius-km", "1") == ["a.jpg"]
    unknown = tagger("query", "--near", "Nowherestadt", code=2)
    assert "no city or landmark of your photos is called 'Nowherestadt'" in unknown.err
    assert "Did you mean" in " ".join(tagger("query", "--near", "eifel towr").err.split())


def test_a_folder_that_exists_or_had_photos_can_be_searched(tagger, known, tmp_path):
    (tmp_path / "empty").mkdir()
    tagger("query", "--under", tmp_path / "empty", code=0)
    assert not (known.root / "paris").exists()
    assert tagger("query", "--under", known.root / "paris").text


def test_options_that_contradict_each_other_are_wrong_usage(tagger):
    for words in ("--radius-km 5", "--json --format csv", "-0 --format csv", "--untagged --unknown"):
        output = tagger("query", *words.split())
        assert (output.code, output.out, "Traceback" in output.err) == (2, b"", False), words


def test_names_that_are_no_text_survive_every_format(tagger, known):
    name = b"odd/caf\xe9\n\x1b[31m.jpg"
    path = os.fsencode(known.photo(name, ("nameless-hill", 0.9, True)))
    only = ("query", "--under", known.root / "odd")
    assert tagger(*only, "--format", "paths").out == path + b"\n"
    assert tagger(*only, "--print0").out == path + b"\0"
    (feature,) = tagger(*only, "--format", "geojson").json["features"]
    assert (os.fsencode(feature["properties"]["path"]), feature["geometry"]) == (path, None)
    output = tagger(*only, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(output.out.decode(errors="surrogateescape"), newline="")))
    assert os.fsencode(rows[0]["path"]) == path
    table = tagger(*only).out
    assert (table.count(b"\n"), b"\x1b" in table) == (2, False)
    assert b"\x1b" not in tagger("show", os.fsdecode(path)).out
    assert os.fsencode(tagger("show", os.fsdecode(path), "--json").json["path"]) == path
    known.photo("Hội An/é.jpg", (GATE, 0.9, True))
    shown = ("show", "photos/Hội An/é.jpg", "--json")
    for words in (("query", "--json"), ("query", "--format", "ndjson"), shown):
        assert "Hội An/é.jpg" in tagger(*words).text


def test_landmarks_are_listed_with_their_photos(tagger, known):
    known.photo("copy.jpg", digest="a")
    listed = tagger("landmark", "list", "--json").json
    assert [(each["landmark"], each["photos"]) for each in listed] == [
        (EIFFEL, 2),
        (GATE, 1),
        (VERSAILLES, 1),
    ]
    assert list(listed[0]) == [
        *("landmark", "name", "country", "region", "city", "latitude", "longitude", "photos"),
        *("other_names", "own"),
    ]
    german = tagger("landmark", "list", "--country", "germany", "--json").json
    assert [each["landmark"] for each in german] == [GATE]
    assert len(tagger("landmark", "list", "--all", "--format", "ndjson").text.splitlines()) == 4
    assert tagger("landmark", "list").text.splitlines()[1] == "eiffel-tower\tEiffel Tower\tFrance\t2"
    csv_rows = tagger("landmark", "list", "--format", "csv").text.splitlines()
    assert csv_rows[1].startswith("eiffel-tower,Eiffel Tower")
    assert tagger("landmark", "list", "--format", "paths").code == 2


def test_show_tells_all_of_one_photo(tagger, known):
    copy = known.photo("copy.jpg", digest="a", camera_id=known.camera("Canon", "Canon EOS 5D", "0570"))
    known.verdict("a", EIFFEL, "confirmed")
    document = tagger("show", "photos/paris/a.jpg", "--json").json
    assert [tag["landmark"] for tag in document["tags"]] == [EIFFEL, GATE]
    assert (document["model"], document["top_k"], document["threshold"]) == ("tiny", 5, 0.5)
    assert (document["copies"], document["camera"]) == ([str(copy)], None)
    assert document["verdicts"][0]["verdict"] == "confirmed"
    known.gone("copy.jpg")
    text = tagger("show", copy).text
    assert "camera:     Canon EOS 5D (0570)\n" in text
    assert "gone since: 2026-03-01 12:00 UTC\n" in text
    assert "confirmed by ada" in text
    execute(known.database, update(contents).values(classified_at=None))  # like those before 2.1
    assert "by tiny\n" in tagger("show", copy).text
    assert "tagger tag" in tagger("show", "elsewhere.jpg", code=1).err


def test_a_date_with_which_clocks_begin_is_marked(tagger, known):
    of_clocks_that_were_set = ({"utc_offset_s": 3600}, {"taken_source": "sidecar"}, {"day": 2})
    for number, columns in enumerate(({}, *of_clocks_that_were_set)):
        taken_at = datetime(2000, 1, columns.pop("day", 1), 0, 0, 34)
        photo = known.photo(f"{number}.jpg", taken_at=taken_at, **columns)
        marked = "if the camera's clock was set: clocks begin on 1 January" in tagger("show", photo).text
        is_marked = tagger("show", photo, "--json").json["clock_may_be_reset"]
        assert (marked, is_marked) == (number == 0, number == 0), columns


def test_photos_are_counted_and_an_unknown_order_is_refused(tagger, known):
    refused = tagger("query", "--sort", "size", code=2)
    assert "one of newest, oldest, added, name, score" in " ".join(refused.err.split())
    assert tagger("query", "--count").text == "3\n"
    assert tagger("query", "--count", "--country", "france", "--json").json == {"photos": 2}
    assert tagger("query", "--count", "--limit", "1").text == "1\n"
    assert tagger("query", "--count", "--unknown", "--sort", "score").text == "1\n"
    assert tagger("query", "--count", "--format", "csv").code == 2


def test_landmarks_of_an_empty_database_are_those_of_the_model(tagger):
    output = tagger("landmark", "list", "--all")
    assert (output.code, output.text) == (0, "")
    assert output.err.endswith("to see which landmarks the model knows, run: tagger model show\n")
    assert "tagger model show" not in tagger("landmark", "list").err


@pytest.mark.parametrize(
    "words", ["status", "job list", "query", "trips", "review", "landmark list", "model list", "db stats"]
)
def test_a_reading_command_creates_no_database(words, tagger, tmp_path, monkeypatch):
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/mistyped/tagger.sqlite")
    output = tagger(*words.split(), "--json", code=0)
    assert f"there is no database at {tmp_path}/mistyped/tagger.sqlite" in output.err
    assert not output.json or words in {"status", "model list", "db stats"}
    assert not (tmp_path / "mistyped").exists()


def test_a_file_in_place_of_the_data_folder_is_no_missing_database(tagger, tmp_path, monkeypatch):
    (tmp_path / "data").touch()
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/data/tagger.sqlite")
    output = tagger("query", code=1)
    assert f"/data/tagger.sqlite cannot be opened: {tmp_path}/data" in output.err
