"""The page in the reader's language: what is in the catalogues, and which one a reader gets."""

import ast
import re
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.plurals import get_plural
from playwright.sync_api import expect
from starlette.datastructures import Headers
from support.browser import open_page
from support.library_photos import EIFFEL, picture

from docs.update_languages import extracted, forms
from tagger.database import Note, NoteCode, note_columns
from tagger.jobs.enqueue.job_texts import note_text
from tagger.query.timeline import section_parts
from tagger.texts.names import city_name, place_text
from tagger.texts.text_format import (
    dates_text,
    day_text,
    distance_text,
    in_language,
    list_text,
    number_text,
    percent,
    rounded_duration,
    size,
)
from tagger.web import templating
from tagger.web.templating import STATIC, TEMPLATES, environment

PACKAGE = Path(templating.__file__).parent
OTHERS = [tag for tag in templating.languages() if tag != "en"]
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{[^}]*\}|</?[a-z][^>]*>")
IN_CATALOGUE = re.compile(r"\{%-? *trans\b.*?\{%-? *endtrans *-?%\}", re.DOTALL)
JINJA = re.compile(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
# Not translated.
NAMES = re.compile(
    r"(· )?landmark tagger|RAW|JPEG\b.*|Ctrl|Shift|Esc|Home|End|tagger up|TAGGER_WEB_FOLDERS=.*"
)


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, _tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in SEEN_ATTRIBUTES]


SEEN_ATTRIBUTES = ("alt", "aria-label", "placeholder", "title")


def texts_of_template(source: str) -> Iterator[str]:
    """Yield the texts of a template that are written in it, and not read from the catalogue."""
    rest = IN_CATALOGUE.sub(" ", source)
    for expression in JINJA.findall(rest):
        called = re.sub(r'\b(?:_|N_|ngettext)\((?:"[^"]*",? ?)+', "", expression)
        yield from (text for text in re.findall(r'"([A-Z][^"]*)"', called) if " " in text)
    parser = Texts()
    parser.feed(JINJA.sub("", rest))
    yield from parser.found


def test_every_text_of_templates_is_in_the_catalogue():
    outside = [
        (path.name, text.strip())
        for path in TEMPLATES.glob("*.html")
        if path.name != "icons.html"
        for text in texts_of_template(path.read_text())
        if '="' not in text  # attributes of a macro
        and re.search("[A-Za-z]{2}", text)
        and not NAMES.fullmatch(text.strip())
    ]
    assert outside == []


def test_every_text_of_scripts_is_in_the_catalogue():
    """Texts are told from keys and addresses by a capital letter and a space, and by what shows them."""
    outside = []
    for path in STATIC.glob("*.js"):
        code = re.sub(r"^\s*(//|\*|/\*\*).*$| // .*$", "", path.read_text(), flags=re.MULTILINE)
        code = re.sub(r'\bn?gettext\((?:"[^"]*"(?:, )?)+', "", code)
        outside += [(path.name, text) for text in re.findall(r'["`]([A-Z][a-z]+ [^"`]*)["`]', code)]
        shown = re.findall(
            r'(?:textContent = |toast\(|createButton\(|"aria-label": )["`]([^"`$]*[a-z]{2}[^"`]*)["`]', code
        )
        outside += [(path.name, text) for text in shown]
    assert [each for each in outside if each[1] not in FONTS] == []


def test_every_text_that_scripts_read_is_extracted():
    """Babel does not see some calls, such as one with values inside of a template literal."""
    found = {text if isinstance(text, str) else text[0] for text in texts_of(extracted()["scripts"])}
    called = {
        (path.name, text)
        for path in STATIC.glob("*.js")
        for text in re.findall(r'\bn?gettext\("([^"]+)"', path.read_text())
    }
    assert called
    assert [each for each in sorted(called) if each[1] not in found] == []


FONTS = {"Noto Sans", "Segoe UI", "Helvetica Neue", "Natural Earth, GeoNames"}


def test_every_sentence_of_page_modules_is_in_the_catalogue():
    outside = []
    for path in (PACKAGE / "pages").glob("*.py"):
        tree = ast.parse(path.read_text())
        known = {id(each) for call in calls(tree) for each in ast.walk(call)}
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        outside += [
            (path.name, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.match("[A-Z][a-z]+ [a-z]", node.value)
            and id(node) not in known | docstrings
        ]
    assert outside == []


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that read a text from the catalogue, mark one, or describe a parameter of the API."""
    for node in ast.walk(tree):
        is_named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if is_named and node.func.id in ("gettext", "ngettext", "N_", "NN_", "Query"):
            yield node


def texts_of(catalogue: Catalog) -> dict[str | tuple[str, str], object]:
    return {message.id: message.string for message in catalogue if message.id}


@pytest.mark.parametrize("name", ["messages", "scripts"])
@pytest.mark.parametrize("tag", OTHERS)
def test_a_catalogue_has_every_text_and_its_placeholders_agree(tag, name):
    catalogue = texts_of(templating.read_catalogue(tag, name))
    code = texts_of(extracted()[name])
    assert code.keys() == catalogue.keys(), "run `make languages` and translate what is new"
    number = get_plural(tag.replace("-", "_")).num_plurals
    for text, string in catalogue.items():
        found = forms(string)
        assert all(found), text
        if isinstance(text, str):
            assert placeholders(found[0]) == placeholders(text), text
            continue
        assert len(found) == number, text
        for each in found:  # one photo may be without its number
            assert placeholders(each) - {"%(count)s"} == placeholders(text[1]) - {"%(count)s"}, text
        assert "%(count)s" not in placeholders(text[1]) or "%(count)s" in found[-1], text


def placeholders(text: str) -> set[str]:
    return set(PLACEHOLDER.findall(text))


def test_numbers_dates_and_names_follow_the_language():
    def texts() -> list[str]:
        return [
            number_text(12_345),
            percent(0.83),
            distance_text(1_120),
            day_text(date(2024, 6, 3)),
            dates_text(date(2019, 5, 3), date(2019, 5, 9)),
            list_text(["Arles", "Nice"]),
            place_text("Florence", "Italy"),
            rounded_duration(3 * 86_400),
            size(64 * 2**20),
        ]

    english = [
        "12,345", "83%", "1.1 km", "3 June 2024", "3\N{EN DASH}9 May 2019", "Arles and Nice",
        "Florence, Italy", "3 days", "64\u202fMB",
    ]  # fmt: skip
    german = [
        "12.345", "83\xa0%", "1,1 km", "3. Juni 2024", "3.\N{EN DASH}9. Mai 2019",
        "Arles und Nice", "Florenz, Italien", "3 Tage", "64\xa0MB",
    ]  # fmt: skip
    assert texts() == english
    with in_language(templating.load_language("de")):
        assert texts() == german
    assert texts() == english


@pytest.mark.parametrize(
    ("tag", "city", "area", "name"),
    [
        ("fr", "Warsaw", "Poland", "Varsovie"),
        ("pt", "Warsaw", "Mazovia", "Varsóvia"),
        ("es", "Florence", "Alabama", "Florence"),
        ("vi", "Florence", "Italy", "Florence"),
        ("de", "Florence", None, "Florence"),
    ],
)
def test_cities_have_their_names_in_the_language(tag, city, area, name):
    with in_language(templating.load_language(tag)):
        assert city_name(city, area) == name


def test_names_of_zones_and_headings_of_days_are_in_the_language():
    for name in ("Europe", "../etc/passwd", "Mars/Base", "", "\0", "Europe/Paris; x"):
        found = templating.zone_of(Headers({"cookie": f"tagger_zone={name}"}))
        assert (found and found.key) == ("Europe/Paris" if "Paris" in name else None), name
    day = date(2025, 8, 22)
    with in_language(templating.load_language("de")):
        (part,) = section_parts([(day, 50)], {day: {(None, "Attica", "Athens"): 50}}, by_day=True)
    assert part.place == "Athen"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("pt-BR", "pt"),
        ("ja,fr;q=0.5,de;q=0.7", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("de;q=0,*", "en"),
        ("ja", "en"),
        ("de;q=x, fr", "fr"),
        ("", "en"),
    ],
)
def test_the_browser_says_the_language(client, header, expected):
    page = client.get("/try", headers={"Accept-Language": header}).text
    assert f'<html lang="{expected}">' in page
    assert ('id="texts"' in page) == (expected != "en")


def test_programs_get_english(client):
    german = {"Accept-Language": "de"}
    address = "/api/jobs/7"
    assert client.get(address, headers=german).json()["error"].startswith("There is no job 7.")
    error = client.get(address, headers={**german, "HX-Request": "true"}).json()["error"]
    assert error == "Es gibt keinen Auftrag 7."


def test_landmarks_and_countries_have_their_names_in_the_language(client, library):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    page = client.get("/places", headers={"Accept-Language": "de"}).text
    assert "Paris, Frankreich" in page
    assert ">Frankreich<" in client.get("/photos/filter", headers={"Accept-Language": "de"}).text
    of_scripts = {"Accept-Language": "de", "HX-Request": "true"}
    assert client.get("/api/landmarks", headers=of_scripts).json()[0]["country"] == "Frankreich"
    assert client.get("/api/landmarks", headers={"Accept-Language": "de"}).json()[0]["country"] == "France"


def test_a_failure_is_explained_in_the_language_with_english_details(client, library):
    german = {"Accept-Language": "de"}
    meaning = "Das Ende der Datei fehlt. Kopieren Sie sie noch einmal vom Original."
    failure = {"failure_kind": "truncated", "failure_text": "It ends early.", "failure_attempts": 1}
    number = library.file("a.jpg", classified=False, data=picture()[:400], **failure)
    page = client.get(f"/photos/{number}/details", headers=german).text
    assert meaning in page
    assert re.search(r'<p [^>]*lang="en">It ends early\.</p>', page)
    assert "It ends early." in client.get(f"/photos/{number}/details").text
    form = {"photo": ("a.jpg", picture()[:400], "image/jpeg")}
    assert meaning in client.post("/try", files=form, headers=german).text


def test_errors_are_in_the_language_of_the_page(client, library):
    german = {"Accept-Language": "de"}
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    edit = f"/places/edit/{EIFFEL}"
    for answer, text in (
        (client.post(edit, data={"name": "***"}, headers=german), "Name: enthält keinen Buchstaben"),
        (client.get("/photos?near=x", headers=german), "Der Filter near ist ungültig."),
        (client.get("/photos?min_score=7", headers=german), "Der Filter min_score ist ungültig."),
        (
            client.post("/jobs/new", data={"folder": "Lw", "write": "x"}, headers=german),
            "Einige Angaben sind ungültig: ",
        ),
        (client.post("/jobs/new", data={"folder": "Lw"}, headers=german), "keinen Zugriff auf diesen Ordner"),
    ):
        assert text in answer.text
    form = client.post("/jobs/new", data={"folder": "Lw", "write": "x"}).text
    assert "not valid: before must be a whole number." in client.get("/jobs/older?before=x").text
    assert "Some values are not valid: write. Go back and correct them." in form
    assert "name: it has no letter, digit or symbol" in client.post(edit, data={"name": "***"}).text


def test_notes_of_jobs_and_workers_are_in_the_language():
    values = {"end": "06:00", "zone": "Europe/Paris", "name": "nightly"}
    note, message = note_columns(Note(NoteCode.PAUSED_UNTIL_NEXT_RUN, values)).values()
    assert note_text(note, message) == note
    with in_language(templating.load_language("de")):
        translated = note_text(note, message)
        assert translated.endswith("der nächste Lauf des Zeitplans nightly setzt ihn fort")
        assert note_text("disk error", None) == "disk error"
        assert note_text("disk error", message) == "disk error", "an older worker replaced the text alone"
        assert note_text("it sleeps", {"code": "asleep", "values": {}}) == "it sleeps", "of a newer version"


def test_a_template_evaluates_filters_in_the_language_of_each_reader():
    """Jinja would evaluate one of a constant only once."""
    template = environment().from_string("{{ 0.5 | percent }}")
    with in_language(templating.load_language("hi")):
        assert template.render() == "50%"
    assert template.render() == "50%"


def test_a_german_browser_gets_german_and_a_choice_persists(browser, address, library):
    for name in "ab":
        library.photo(f"{name}.jpg", (EIFFEL, 0.9, True))
    with open_page(browser, "/photos?any_rank=1", base=address, locale="de-DE") as page:
        expect(page.get_by_role("heading", name="Fotos")).to_be_visible()
        expect(page.get_by_role("button", name="Auswählen")).to_be_visible()  # a script's text
        expect(page.locator(".filtered-count")).to_have_text("2 Fotos")
        page.get_by_role("button", name="Einstellungen").click()
        page.get_by_label("Sprache").select_option(label="Français")
        expect(page.get_by_role("button", name="Sélectionner")).to_be_visible()
        assert page.url == f"{address}/photos?any_rank=1"
        page.goto("/places")
        expect(page.get_by_role("heading", name="Lieux")).to_be_visible()
        page.get_by_role("button", name="Paramètres").click()
        page.get_by_label("Langue").select_option(label="Automatique")
        expect(page.get_by_role("heading", name="Orte")).to_be_visible()
