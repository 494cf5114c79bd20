"""An export with any change is refused, or its database is consistent and every page of it answers."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.empty_databases import empty_database
from support.examples import examples
from support.exports import exported, fill_library, imported, with_checksum
from support.page_server import client_of_page, settings_in

from tagger.errors import ImportRefused
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.transfer.exporter import encode_line
from tagger.transfer.integrity import check_database

PAGES = (
    "/",
    "/jobs",
    "/jobs/1",
    "/api/models",
    "/api/jobs",
    "/api/status",
    "/api/schedules",
    "/api/photos/1",
)

_numbers = st.integers() | st.floats() | st.sampled_from([2**31, 2**53, 2**63, 2**70, 1e308, -1])
_texts = st.text(max_size=20) | st.sampled_from(
    [
        *("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "* * * * *"),
        *("../x", "/", "\0", "paused", "tag", "undo", ""),
    ]
)
_scalars = st.none() | st.booleans() | _numbers | _texts
_wild = _scalars | st.lists(_scalars, max_size=3) | st.dictionaries(_texts, _scalars, max_size=3)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("export")
    with empty_database(folder) as database:
        fill_library(database, folder)
        return exported(database).splitlines(keepends=True)


def _change_value(data: st.DataObject, document: dict[str, Any]) -> None:
    """Replace or remove a value at any depth."""
    name = data.draw(st.sampled_from(sorted(document)))
    value = document[name]
    if isinstance(value, dict) and value and data.draw(st.integers(0, 4)):
        _change_value(data, value)
    elif data.draw(st.integers(0, 9)):
        document[name] = data.draw(_wild)
    else:
        del document[name]


def _changed(data: st.DataObject, lines: list[bytes]) -> bytes:
    changed = list(lines)
    for index in data.draw(st.lists(st.integers(1, len(lines) - 2), min_size=1, max_size=2)):
        document = json.loads(changed[index])
        if document["row"]:
            _change_value(data, document["row"])
        try:
            changed[index] = encode_line(document)
        except ValueError:  # NaN and infinity, which are not JSON
            changed[index] = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    return with_checksum(changed)


@examples(5)
@given(data=st.data())
def test_an_import_is_refused_or_breaks_nothing(lines: list[bytes], data: st.DataObject) -> None:
    content = _changed(data, lines)
    with tempfile.TemporaryDirectory() as folder, empty_database(Path(folder)) as database:
        try:
            imported(database, content)
        except ImportRefused:
            return
        assert list(check_database(database)) == []
        list(find_tagged(database, PhotoQuery(any_rank=True), {}))
        _open_pages(Path(folder), database)


def _open_pages(folder: Path, database: Any) -> None:
    web_settings = settings_in(folder)
    with client_of_page(web_settings, database) as client:
        for page in PAGES:
            assert client.get(page).status_code < 500, page
