"""Names of landmarks and countries are found by their parts, in other languages, and with typing errors."""

import pytest
from hypothesis import given, strategies as st

from tagger.search import Match, NameIndex, folded, is_similar
from tagger.search.names import country_names
from tagger.texts.names import foreign_names

EIFFEL, PAUL, SAGRADA = "eiffel", "paul", "sagrada"
INDEX = NameIndex(
    [
        (EIFFEL, ("Eiffel Tower", "Tour Eiffel", "エッフェル塔")),
        (PAUL, ("St. Paul's Cathedral",)),
        (SAGRADA, ("Sagrada Família",)),
    ]
)
LETTERS = st.text("abcdefg", min_size=6, max_size=12)
COUNTRIES = dict.fromkeys(
    ("United Kingdom", "United States", "Germany", "Czechia", "Ivory Coast", "Egypt", "Vietnam")
)


@pytest.mark.parametrize(
    ("text", "match", "found"),
    [
        ("tour eiffel", Match.WHOLE, EIFFEL),
        ("TOUR", Match.START, EIFFEL),
        ("éiffel tow", Match.START, EIFFEL),
        ("tower", Match.START_OF_WORD, EIFFEL),
        ("tow eif", Match.WORDS, EIFFEL),
        ("iffel", Match.INSIDE, EIFFEL),
        ("エッフェル塔", Match.WHOLE, EIFFEL),
        ("st pauls", Match.START, PAUL),
        ("familia", Match.START_OF_WORD, SAGRADA),
    ],
)
def test_a_name_is_found_by_its_parts(text, match, found):
    assert INDEX.find(text) == [(match, found)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("lodz", "Łódź"), ("LODZ", "Łódź"), ("orsted", "Ørsted"), ("orstedspark", "Ørstedspark")),
        *(("da lat", "Đà Lạt"), ("da lat", "Ðà Lạt"), ("đà lạt", "Ðà Lạt"), ("thingvellir", "Þingvellir")),
        *(("aero", "Ærø"), ("strasse des 17 juni", "Straße des 17. Juni"), ("istanbul", "İstanbul")),
        *(("œuvre", "Oeuvre"), ("ørsted", "Orsted"), ("skaerbaek", "Skærbæk")),
    ],
)
def test_letters_with_strokes_and_ligatures_are_those_that_people_type(text, name):
    index = NameIndex([(name, (name,))])
    assert index.find(text) == [(Match.WHOLE, name)]
    assert [match.thing for match in index.find_words(text)] == [name]


@pytest.mark.parametrize("text", ["", " ", "'", "x", "eff", "paris", "towel of london", "ul"])
def test_other_texts_find_nothing(text):
    assert INDEX.find(text) == []
    assert INDEX.find_words(text) == []


def test_starts_come_before_parts_of_words():
    index = NameIndex(
        [("c", ("Great Barrier",)), ("b", ("Embarrass",)), ("a", ("Barcelona",)), ("w", ("Bar",))]
    )
    assert [thing for _, thing in index.find("bar")] == ["w", "a", "c", "b"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tower", [(0, False, 1, EIFFEL)]),
        ("tour", [(0, True, 1, EIFFEL)]),
        ("eiffle", [(1, False, 1, EIFFEL)]),
        ("eifel tower", [(1, False, 0, EIFFEL)]),
        ("sagrada familla", [(1, False, 0, SAGRADA)]),
        ("sagrado familla", [(2, False, 0, SAGRADA)]),
        ("cathadrel", []),  # two errors in nine letters
        ("eifel", []),  # too short
        ("towers", [(1, False, 1, EIFFEL)]),
        ("tourss", []),  # its only name with this word is an alias of several
        ("sagrad", [(1, False, 1, SAGRADA)]),
        ("sagr", []),  # no start of a word
        ("rower", []),  # another first letter
        ("tower of london", []),
    ],
)
def test_words_of_names_are_found_with_their_typing_errors(text, found):
    assert INDEX.find_words(text) == found


@given(LETTERS, st.integers(0, 11), st.sampled_from("abcxyz"))
def test_one_error_of_any_kind_is_found(word, place, letter):
    place = place % (len(word) - 1) + 1
    before, after = word[:place], word[place:]
    wrong = (before + after[1:], before + letter + after, before + letter + after[1:], before + after[1:2] + after[:1] + after[2:])  # fmt: skip
    for text in wrong:
        assert is_similar(text, word, 1)
        if len(text) >= 6:
            assert NameIndex([(word, (word,))]).find_words(text)


@given(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=4))
def test_any_text_and_any_names_may_be_compared(text, names):
    index = NameIndex([("thing", names)])
    assert len(index.find(text)) <= 1
    assert len(index.find_words(text)) <= 1
    for name in names:
        if folded(name):
            assert index.find(name)[0][0] is Match.WHOLE


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("uk", "United Kingdom"),
        ("Great Britain", "United Kingdom"),
        ("USA", "United States"),
        ("czech republic", "Czechia"),
        ("deutschland", "Germany"),
        ("Allemagne", "Germany"),
        ("जर्मनी", "Germany"),
        ("cesko", "Czechia"),
        ("Cote dIvoire", "Ivory Coast"),
        ("مصر", "Egypt"),
        ("Etats-Unis", "United States"),
    ],
)
def test_countries_have_initials_everyday_names_and_those_of_other_languages(text, country):
    everyday, foreign = country_names(COUNTRIES), country_names(COUNTRIES, foreign_names)
    match, meaning = (everyday.find(text) or foreign.find(text))[0]
    assert (match, meaning.label) == (Match.WHOLE, country)
    assert foreign_names("Atlantis") == ()
