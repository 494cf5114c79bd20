"""Put the texts of the page into the catalogues of its languages. Run it with `make languages`.

A text that is new or has changed comes without a translation, and one that nobody uses any more is removed.
Catalogues do not say where a text is used, so they change only where texts do.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.plurals import get_plural
from babel.messages.pofile import write_po

from tagger.web.templating import (
    ENGLISH,
    MESSAGES,
    SCRIPTS,
    catalogue_file,
    languages,
    read_catalogue,
)

TAGGER = Path(__file__).parents[1] / "tagger"
METHODS = {".py": "python", ".js": "javascript", ".html": "jinja2"}
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None, "NN_": (1, 2)}
OPTIONS = {
    "trimmed": "true",
    "newstyle_gettext": "true",
    "silent": "false",
    "parse_template_string": "true",
}
PLURALS = {"hi": "(n > 1)", "pt": "(n > 1)"}
"""Rules of CLDR that Babel has otherwise: scripts go by CLDR."""


def sources() -> Iterator[Path]:
    """Yield the files with texts: a script of others has none of ours."""
    for path in sorted(TAGGER.rglob("*")):
        if path.suffix in METHODS and "vendor" not in path.parts:
            yield path


@cache
def extracted() -> Mapping[str, Catalog]:
    """Return the texts of scripts, and all other texts of the code, by the names of their catalogues."""
    catalogues = {SCRIPTS: Catalog(), MESSAGES: Catalog()}
    for path in sorted(sources(), key=lambda path: path.suffix != ".js"):
        name = SCRIPTS if path.suffix == ".js" else MESSAGES
        found = extract_from_file(
            METHODS[path.suffix], path, keywords=KEYWORDS, options=OPTIONS
        )
        for _line, text, _comments, _context in found:
            if name == SCRIPTS or text not in catalogues[SCRIPTS]:
                catalogues[name].add(text)
    return catalogues


def update(tag: str) -> int:
    """Write the catalogues of a language; returns how many texts have no translation."""
    files = {name: catalogue_file(tag, name) for name in extracted()}
    existing = [
        read_catalogue(tag, name) for name, file in files.items() if file.exists()
    ]
    known = {
        message.id: message.string for catalogue in existing for message in catalogue
    }
    for name, texts in extracted().items():
        catalogue = Catalog(locale=tag.replace("-", "_"))
        for message in texts:
            if message.id:
                catalogue.add(message.id, known.get(message.id))
        write(catalogue, tag, files[name])
    every = (
        message.id for texts in extracted().values() for message in texts if message.id
    )
    return sum(not any(forms(known.get(text))) for text in every)


def write(catalogue: Catalog, tag: str, path: Path) -> None:
    """Write a catalogue with only the headers that readers need."""
    number, rule = get_plural(catalogue.locale)[:2]
    header = f"Plural-Forms: nplurals={number}; plural={PLURALS.get(tag, rule)};"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(f'msgid ""\nmsgstr ""\n"Language: {tag}\\n"\n'.encode())
        file.write(b'"Content-Type: text/plain; charset=utf-8\\n"\n')
        file.write(f'"{header}\\n"\n\n'.encode())
        write_po(
            file,
            catalogue,
            width=0,
            omit_header=True,
            sort_output=True,
            no_location=True,
        )


def forms(string: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the forms of a translation: one, or those for numbers."""
    return (string,) if isinstance(string, str) else tuple(string or ())


if __name__ == "__main__":
    for each in languages():
        if each != ENGLISH:
            print(f"{each}: {update(each)} texts without a translation")  # noqa: T201
