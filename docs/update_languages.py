"""Put the texts of the page into the catalogues of its languages. Run it with `make languages`.

A text that is new or has changed comes without a translation, and one that nobody uses any more is removed.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.plurals import get_plural
from babel.messages.pofile import write_po

from tagger.web.http.languages import ENGLISH, LOCALE, languages, read_catalogue

TAGGER = Path(__file__).parents[1] / "tagger"
METHODS = {".py": "python", ".js": "javascript", ".html": "jinja2"}
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None, "NN_": (1, 2)}
OPTIONS = {"trimmed": "true", "newstyle_gettext": "true", "silent": "false", "parse_template_string": "true"}
PLURALS = {"hi": "(n > 1)", "pt": "(n > 1)"}
"""Rules of CLDR that Babel has otherwise: scripts go by CLDR."""


def sources() -> Iterator[Path]:
    """Yield the files with texts: a script of others has none of ours."""
    for path in sorted(TAGGER.rglob("*")):
        if path.suffix in METHODS and "vendor" not in path.parts:
            yield path


@cache
def extracted() -> Catalog:
    """Return all texts of the code, with their files."""
    catalogue = Catalog()
    for path in sources():
        found = extract_from_file(METHODS[path.suffix], path, keywords=KEYWORDS, options=OPTIONS)
        for _line, text, _comments, _context in found:
            catalogue.add(text, locations=[(path.relative_to(TAGGER.parent).as_posix(), 0)])
    return catalogue


def update(tag: str) -> int:
    """Write the catalogue of a language; returns how many texts have no translation."""
    texts = extracted()
    catalogue = Catalog(locale=tag.replace("-", "_"))
    known = {message.id: message.string for message in read_catalogue(tag)}
    for message in texts:
        if message.id:
            catalogue.add(message.id, known.get(message.id), message.locations)
    number, rule = get_plural(catalogue.locale)[:2]
    with (LOCALE / tag / "LC_MESSAGES" / "messages.po").open("wb") as file:
        header = f"Plural-Forms: nplurals={number}; plural={PLURALS.get(tag, rule)};"
        file.write(f'msgid ""\nmsgstr ""\n"Language: {tag}\\n"\n'.encode())
        file.write(b'"Content-Type: text/plain; charset=utf-8\\n"\n')
        file.write(f'"{header}\\n"\n\n'.encode())
        write_po(file, catalogue, width=0, omit_header=True, sort_output=True, include_lineno=False)
    return sum(not any(forms(message.string)) for message in catalogue if message.id)


def forms(string: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the forms of a translation: one, or those for numbers."""
    return (string,) if isinstance(string, str) else tuple(string or ())


if __name__ == "__main__":
    for each in languages():
        if each != ENGLISH:
            print(f"{each}: {update(each)} texts without a translation")  # noqa: T201
