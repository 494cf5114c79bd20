"""What a person may name a landmark, and the slug that becomes of it."""

import pytest

from tagger.errors import LandmarkInvalid
from tagger.landmarks.edits import check_position, derive_slug
from tagger.texts.names import MAX_SLUG, check_language, check_slug, clean_name, clean_text, name_in_language


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


def test_names_of_other_scripts_have_stable_slugs_of_their_own():
    names = ["富士山", "清水寺", "Храм 2", "Дом 2", "قلعة", "🗼"]
    slugs = [derive_slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert slugs == [derive_slug(name) for name in names]
    for slug in slugs:
        assert check_slug(slug).startswith("landmark-")


def test_the_slug_of_the_longest_name_is_valid():
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


@pytest.mark.parametrize(
    "name",
    [
        "",
        "\u200f",
        "a\nb",
        "a\0b",
        "\x1b[2J",
        "\udcff",
        "a" * 201,
    ],
)
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


def test_language_tags():
    assert [check_language(tag) for tag in ("de", "zh-Hant", "de-AT")] == ["de", "zh-Hant", "de-AT"]
    for tag in ("", "German", "DE", "de_AT", "de\n", "d" * 500):
        with pytest.raises(LandmarkInvalid, match="language"):
            check_language(tag)


def test_a_name_in_a_language_or_one_that_is_near():
    names = {"de": "Kölner Dom", "zh-Hant": "科隆大教堂"}
    shown = [name_in_language("Cologne Cathedral", names, tag) for tag in ("de", "de-AT", "zh-Hant-TW")]
    assert shown == ["Kölner Dom", "Kölner Dom", "科隆大教堂"]
    for other in (None, "fr", "zh"):
        assert name_in_language("Cologne Cathedral", names, other) == "Cologne Cathedral"
