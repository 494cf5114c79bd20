"""Options of queries and fields of landmarks: the same everywhere, refused for the same reason."""

# ruff: noqa: DTZ001 - cameras record no time zone
import json
import operator
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qs

import pytest
import typer

from tagger.cli.options import query_usage
from tagger.errors import LandmarkInvalid, QueryOptionInvalid
from tagger.interface.results import BackfillConditions, Conditions
from tagger.landmarks.edits import check_position, derive_slug
from tagger.query import BoundingBox, parse_box, parse_date, parse_position
from tagger.query.filter_words import conditions_text
from tagger.query.options import (
    MAX_NAMES,
    QUERY_OPTIONS,
    Alternatives,
    PhotoQuery,
    _parse_folder,
    options_used_by,
)
from tagger.query.tagged_photos import TaggedPhoto
from tagger.texts.names import MAX_SLUG, check_language, check_slug, clean_name, clean_text, name_in_language
from tagger.web.routes import QueryParams

VALID: tuple[tuple[Mapping[str, object], PhotoQuery], ...] = (
    ({}, PhotoQuery()),
    ({"box": "48, 2,49,3.5"}, PhotoQuery(box=BoundingBox(48.0, 2.0, 49.0, 3.5))),
    ({"box": "-18,179,-16,-179"}, PhotoQuery(box=BoundingBox(-18.0, 179.0, -16.0, -179.0))),
    ({"near": "48.86,2.29"}, PhotoQuery(near=(48.86, 2.29), radius_km=10.0)),
    ({"near": " -90 , 180", "radius_km": 0.0}, PhotoQuery(near=(-90.0, 180.0), radius_km=0.0)),
    ({"taken_after": "2024-06-01"}, PhotoQuery(taken_after=datetime(2024, 6, 1))),
    ({"taken_before": "2024-06-01T18:30"}, PhotoQuery(taken_before=datetime(2024, 6, 1, 18, 30))),
    ({"landmark": "Eiffel Tower", "any_rank": True}, PhotoQuery(landmark="Eiffel Tower", any_rank=True)),
    ({"unknown": True, "model": "tiny"}, PhotoQuery(unknown=True, model="tiny")),
    (
        {"verdict": "corrected", "camera": ["Canon EOS 5D"]},
        PhotoQuery(verdict="corrected", camera=("Canon EOS 5D",)),
    ),
    ({"unknown": True, "any_rank": True}, PhotoQuery(unknown=True, any_rank=True)),
    ({"min_score": 0.0, "country": "France"}, PhotoQuery(min_score=0.0, country=("France",))),
    (
        {"country": ["France", "Italy"], "year": [2019, 1]},
        PhotoQuery(country=("France", "Italy"), year=(2019, 1)),
    ),
    ({"landmark": ["a", "b"]}, PhotoQuery(landmark=("a", "b"))),
    ({"failed": True}, PhotoQuery(failed=True)),
    (
        {"any_of": "country=Italy|near=48.86,2.29&radius_km=5|unknown=1", "without": ["year=2019&year=2020"]},
        PhotoQuery(
            any_of=(
                Alternatives(
                    (
                        PhotoQuery(country=("Italy",)),
                        PhotoQuery(near=(48.86, 2.29), radius_km=5.0),
                        PhotoQuery(unknown=True),
                    )
                ),
            ),
            without=(Alternatives((PhotoQuery(year=(2019, 2020)),)),),
        ),
    ),
)

INVALID: tuple[tuple[Mapping[str, object], str, str], ...] = (
    ({"box": "48,2"}, "box", "'48,2' is not a box"),
    ({"box": "48,nan,49,3"}, "box", "'48,nan,49,3' is not a box"),
    ({"near": "paris"}, "near", "'paris' is not a position"),
    ({"near": "91,2"}, "near", "'91,2' is not a position"),
    ({"near": "4_8,2"}, "near", "'4_8,2' is not a position"),
    ({"limit": "1_0"}, "limit", "'1_0' is not a whole number"),
    ({"min_score": "0_0.5"}, "min_score", "'0_0.5' is not a number"),
    ({"radius_km": 5.0}, "radius_km", "needs a position"),
    ({"taken_after": "May"}, "taken_after", "'May' is not a date"),
    ({"taken_before": "2024-05-06T00:00+02:00"}, "taken_before", "Leave out the time zone"),
    ({"unknown": True, "landmark": "eiffel-tower"}, "unknown", "cannot be combined with a landmark"),
    ({"unknown": True, "min_score": 0.0}, "unknown", "cannot be combined with a minimum score"),
    ({"position": "gps"}, "position", "'gps' is no source of positions"),
    ({"verdict": "maybe"}, "verdict", "'maybe' is no verdict"),
    ({"dismissed": True, "verdict": "none"}, "dismissed", "cannot be combined with photos without a verdict"),
    ({"year": [2019, 10_000]}, "year", "10000 is more than 9999"),
    ({"min_score": float("nan")}, "min_score", "nan is less than 0"),
    ({"failed": True, "untagged": True}, "failed", "cannot be combined with photos that are not classified"),
    ({"failed": True, "country": "France"}, "failed", "cannot be combined with a country"),
    ({"failed": True, "dismissed": True}, "dismissed", "cannot be combined with photos that fail"),
    ({"untagged": True, "verdict": "none"}, "untagged", "cannot be combined with a verdict"),
    ({"untagged": True, "box": "48,2,49,3"}, "untagged", "cannot be combined with a box"),
    ({"untagged": True, "unknown": True}, "untagged", "cannot be combined with unknown photos"),
    ({"any_of": "|"}, "any_of", "'|' has no options of a query"),
    ({"any_of": "|".join(["year=2019"] * 13)}, "any_of", "has 13 alternatives, and 12 are possible"),
    ({"without": "Italy"}, "without", "'Italy' has no options of a query"),
    ({"without": "year=x"}, "without", "'year=x' has no options of a query"),
    ({"without": "without=year%3D2019"}, "without", "'without=year%3D2019' has no options of a query"),
    ({"without": "by_slug=1"}, "without", "'by_slug=1' has no options of a query"),
    ({"any_of": "camera=%ff"}, "any_of", "'camera=%ff' has no options of a query"),
    ({"any_of": "landmark=%00"}, "any_of", "'landmark=%00' has no options of a query"),
    ({"trip": "\udcff"}, "trip", "'\\udcff' is not UTF-8"),
    ({"camera": ["a", "b\0"]}, "camera", "'b\\x00' is not a text"),
    ({"min_score": 10**400}, "min_score", "1000"),
    ({"without": "under=holiday"}, "without", "'under=holiday' has no options of a query"),
    ({"without": "unknown=1&landmark=a"}, "without", "'unknown=1&landmark=a' has no options of a query"),
    ({"untagged": True, "model": "tiny"}, "untagged", "cannot be combined with a model"),
)


@pytest.mark.parametrize(
    ("options", "query"), VALID, ids=lambda value: str(value) if isinstance(value, dict) else ""
)
def test_options_become_the_same_query_everywhere(options, query):
    assert PhotoQuery.parse(options) == query
    assert PhotoQuery.parse(query.texts) == query


@pytest.mark.parametrize(("options", "option", "reason"), INVALID, ids=str)
def test_invalid_options_are_refused_for_the_same_reason_everywhere(options, option, reason):
    with pytest.raises(QueryOptionInvalid) as refusal:
        PhotoQuery(**options)
    assert refusal.value.values["option"] == option
    text = str(refusal.value.values["reason"])
    assert text.startswith(reason)
    with pytest.raises(typer.BadParameter) as usage, query_usage():
        PhotoQuery(**options)
    assert (usage.value.message, usage.value.param_hint) == (text, "--" + option.replace("_", "-"))


# As 1.0 and 1.1 store a query.
EVERY_OPTION = {
    "landmark": "eiffel-tower",
    "country": ["France", "Italy"],
    "near": "48.1,2.3",
    "radius_km": 5.0,
    "box": "48,2,49,3",
    "position": "any",
    "trip": "2019-05-03-arles",
    "job": 7,
    "min_score": 0.0,
    "verdict": "none",
    "camera": ["canon eos 5d"],
    "under": ["/photos", {"text": "/photos/caf\\xe9", "bytes": b"/photos/caf\xe9".hex()}],
    "year": [2019, 2020],
    "calendar_month": [5],
    "taken_after": "2019-01-01T00:00:00",
    "taken_before": "2019-06-01T12:00:00",
    "model": "tiny",
    "any_of": ["country=Italy|near=48.1%2C2.3&radius_km=5.0|under=%2Fphotos%2Fcaf%E9"],
    "without": ["year=2019", "unknown=1"],
    "favourite": True,
    "any_rank": True,
}


def test_queries_are_the_same_in_documents_addresses_and_those_of_released_versions():
    query = PhotoQuery.of_document(EVERY_OPTION)
    written = query.document
    assert written.pop("any_of") == ["country=Italy|near=48.1%2C2.3&radius_km=5|under=%2Fphotos%2Fcaf%E9"]
    assert written == {name: value for name, value in EVERY_OPTION.items() if name != "any_of"}
    others = {"unknown", "untagged", "failed", "dismissed"}
    newer = {"thing": ["dog"], "sight": ["louvre"], "calendar_day": ["06-30"], "undated": True}
    assert PhotoQuery.of_document(newer).document == newer
    assert EVERY_OPTION.keys() | newer.keys() | others == {
        name for name, option in QUERY_OPTIONS.items() if option.is_stored
    }
    for name in others:
        assert PhotoQuery.of_document({name: True}).document == {name: True}
    for name in ("sort", "by_slug"):
        with pytest.raises(QueryOptionInvalid):
            PhotoQuery.of_document({name: 1})
    address = QueryParams.of(**EVERY_OPTION).address("")
    texts = parse_qs(address.removeprefix("?"), errors="surrogateescape")
    single = {name: values if QUERY_OPTIONS[name].several else values[0] for name, values in texts.items()}
    assert PhotoQuery.parse(single) == query
    assert (
        PhotoQuery.of_document(json.loads(json.dumps(query.document, ensure_ascii=False).encode())) == query
    )
    assert PhotoQuery.parse(query.texts) == query
    assert (query.texts["taken_after"], query.texts["min_score"]) == ("2019-01-01", "0")


def test_conditions_have_words_types_and_limits():
    query = PhotoQuery(
        landmark="eiffel-tower", near="48.86,2.29", verdict="none", under=(Path("/photos"),), year=(2019,)
    )
    words = "Eiffel Tower, within 10 km of 48.86, 2.29, without a verdict, in photos, 2019"
    assert conditions_text(query, {"eiffel-tower": "Eiffel Tower"}) == words
    assert conditions_text(PhotoQuery()) == ""
    query = PhotoQuery(any_of="country=Italy|year=2019|under=/photos", without="landmark=eiffel-tower")
    assert (
        conditions_text(query, {"eiffel-tower": "Eiffel Tower"})
        == "Italy, 2019 or in photos, not Eiffel Tower"
    )
    assert get_type_hints(Conditions).keys() == {*QUERY_OPTIONS, "text"}
    assert get_type_hints(BackfillConditions).keys() == options_used_by("all").keys() - {"model"}
    names = [f"name {number}" for number in range(MAX_NAMES + 1)]
    query = PhotoQuery(landmark=names[1:], country=names[1:])
    assert query.landmark == query.country == tuple(names[1:])
    with pytest.raises(QueryOptionInvalid, match="has 101 values"):
        PhotoQuery(landmark=names)
    with pytest.raises(QueryOptionInvalid, match="has 101 values"):
        PhotoQuery(country=names)


# Other forms of values that scripts may use.
FORMS: dict[Any, set[Any]] = {
    parse_position: {str},
    parse_box: {str, tuple[float, float, float, float]},
    parse_date: {str, date},
    Alternatives.parse: {str},
    _parse_folder: {str, TaggedPhoto},
}


@pytest.mark.parametrize(("name", "option"), QUERY_OPTIONS.items())
def test_a_condition_of_scripts_has_the_type_of_its_option(name, option):
    stored = get_type_hints(PhotoQuery)[name]
    values = {*get_args(stored)} if option.several or option.kind is not bool else {stored}
    values = values - {Ellipsis, NoneType} | FORMS.get(option.parse, set())
    if datetime in values:  # each is a date
        values -= {datetime}
    if option.several:
        values |= {Iterable[reduce(operator.or_, values)]}
    if option.kind is not bool:
        values |= {NoneType}
    hint = get_type_hints(Conditions)[name]
    assert ({*get_args(hint)} or {hint}) == values


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Frauenkirche", "frauenkirche"),
        ("Cimetière du Père-Lachaise", "cimetiere-du-pere-lachaise"),
        ("Łódź, Große Straße", "lodz-grosse-strasse"),
        ("Эрмитаж (Hermitage)", "hermitage"),
    ],
)
def test_the_slug_of_a_name(name, slug):
    assert derive_slug(name) == slug == check_slug(slug)


def test_slugs_of_long_names_and_other_scripts_are_stable():
    names = ["富士山", "清水寺", "Храм 2", "Дом 2", "قلعة", "🗼"]
    slugs = [derive_slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert slugs == [derive_slug(name) for name in names]
    for slug in slugs:
        assert check_slug(slug).startswith("landmark-")
    assert len(check_slug(derive_slug("a b " * 50))) <= MAX_SLUG


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("  Old \u00a0 Bridge ", "Old Bridge"),
        ("Cafe\u0301", "Café"),
        ("\u200fDom\u200e", "Dom"),
        ("\u202emoD\u202c", "moD"),
        ("می‌دان", "می‌دان"),
    ],
)
def test_names_are_cleaned(typed, name):
    assert clean_name(typed) == name
    assert clean_text(" \u200f", "country") == ""  # other texts may be empty


@pytest.mark.parametrize("name", ["", "\u200f", "a\nb", "a\0b", "\x1b[2J", "\udcff", "a" * 201])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(LandmarkInvalid, match=r"^Invalid landmark: name: it "):
        clean_name(name)


@pytest.mark.parametrize("slug", ["", "Eiffel-Tower", "a--b", "-a", "a b", "a\n", "é", "a" * 101])
def test_what_is_no_slug_is_refused_with_a_proposal(slug):
    with pytest.raises(LandmarkInvalid, match=r"like [a-z0-9-]+") as refused:
        check_slug(slug)
    check_slug(str(refused.value).rpartition(" ")[2].removesuffix("."))


@pytest.mark.parametrize("position", [(90.1, 0), (0, -180.1), (float("nan"), 0), (0, float("inf"))], ids=str)
def test_positions_off_the_earth_are_refused(position):
    with pytest.raises(LandmarkInvalid, match="position"):
        check_position(position)


def test_names_are_in_a_language_or_a_near_one():
    assert [check_language(tag) for tag in ("de", "zh-Hant", "de-AT")] == ["de", "zh-Hant", "de-AT"]
    for tag in ("", "German", "DE", "de_AT", "de\n", "d" * 500):
        with pytest.raises(LandmarkInvalid, match="language"):
            check_language(tag)
    names = {"de": "Kölner Dom", "zh-Hant": "科隆大教堂"}
    shown = [name_in_language("Cologne Cathedral", names, tag) for tag in ("de", "de-AT", "zh-Hant-TW")]
    assert shown == ["Kölner Dom", "Kölner Dom", "科隆大教堂"]
    for other in (None, "fr", "zh"):
        assert name_in_language("Cologne Cathedral", names, other) == "Cologne Cathedral"
