"""A program in which photos have one fact and one format more, declared as any others.

`python -m support.added_declarations FOLDER` tags photos of both, and prints what there is of them.
"""

import io
import json
import re
import sys
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, Text, select

FORMATS = "PHOTO_FORMATS = (JPEG, "
ADDED_FORMAT = (
    'PHOTO_FORMATS = (PhotoFormat("QOI", (".qoi",), _starts_with(b"qoif"), "support.added_format:READER", '
    '"image/x-qoi"), JPEG, '
)
FIELD = '    taken_at: datetime | None = _fact("taken_source", label=N_("Taken"))\n'
ADDED_FIELD = '    rating: int | None = _fact("rating_source", (-1, 5), "Rating")\n'


def import_changed(name: str, text: str, changed: str) -> None:
    """Import a module that nothing has imported yet, with `changed` instead of `text` in its source."""
    spec = find_spec(name)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    source = Path(str(spec.origin)).read_text()
    assert text in source
    exec(source.replace(text, changed), vars(module))


def declare_rating() -> None:
    """Add a field to the declarations, its columns to the table, and its reading to that of XMP."""
    import_changed("tagger.photos", FIELD, FIELD + ADDED_FIELD)

    from tagger.database.tables import photos

    photos.append_column(Column("rating", Integer))
    photos.append_column(Column("rating_source", Text, nullable=False, server_default="camera"))

    from tagger.metadata import stated_facts

    read = stated_facts.stated_in_xmp

    def stated_in_xmp(packet: bytes, *lacking: Any, **options: bool) -> Any:
        rating = re.search(rb'xmp:Rating="(\d)"', packet)
        return replace(read(packet, *lacking, **options), **{"rating": int(rating[1])} if rating else {})

    stated_facts._PROPERTIES["rating"] = ("xmp:Rating",)
    stated_facts.stated_in_xmp = stated_in_xmp


def main(folder: Path) -> None:
    """Print the rows, answers and texts in which the fact and the photo of the format are."""
    from PIL import Image
    from support.artifacts import colour_of
    from support.command_line import run_command
    from support.databases import empty_database
    from support.page_server import client_of_page, settings_in
    from support.raw_pairs import PairFolder
    from support.written_folder import SIDECAR_OF_USER

    from tagger.cli.main import main as program
    from tagger.database.tables import photos
    from tagger.photos.formats import digest_photo
    from tagger.raw_pairs import separate_files

    def rate(name: str, rating: int) -> None:
        (tagged.folder / f"{name}.xmp").write_text(SIDECAR_OF_USER.replace('"5"', f'"{rating}"'))

    def rows(connection: Any) -> list[list[Any]]:
        query = select(photos.c.path, photos.c.rating, photos.c.rating_source).order_by(photos.c.path)
        return [list(row) for row in connection.execute(query)]

    picture = Image.new("RGB", (480, 320), colour_of(0))
    encoded = io.BytesIO()
    picture.save(encoded, "QOI")
    image, xmp = encoded.getvalue(), SIDECAR_OF_USER.encode()
    settings = settings_in(folder)
    data = {"TAGGER_DATA_FOLDER": str(settings.data_folder)}
    found: dict[str, Any] = {"is same image": digest_photo(image) == digest_photo(image + xmp)}
    with empty_database(settings.data_folder) as database:
        tagged = PairFolder(database, folder)
        picture.save(tagged.folder / "a.jpg", xmp=xmp)
        picture.save(tagged.folder / "b.jpg", quality=60)
        tagged.draw_raw("b.CR3")
        (tagged.folder / "c.qoi").write_bytes(image + xmp)
        for name in ("a.jpg", "b.jpg"):
            rate(name, 2)
        tagged.tag()
        found["tags"] = tagged.found()
        with database.read() as connection:
            found["rows"] = rows(connection)
        with client_of_page(settings, database) as client:
            every = {"any_rank": 1, "sort": "name"}
            listed = client.get("/api/photos", params=every).json()["photos"]
            found["json"] = {Path(each["path"]).name: each["rating"] for each in listed}
            found["csv"] = client.get("/api/photos.csv", params=every).text
            found["page"] = client.get(f"/photos/{listed[0]['id']}").text
            found["size"] = [listed[-1]["width"], listed[-1]["height"]]
            response = client.get(f"/api/photos/{listed[-1]['id']}/image")
            found["image"] = [response.headers["content-type"], response.content == image + xmp]
        first, last = listed[0]["path"], listed[-1]["path"]
        found["show"] = run_command(program, "show", first, environment=data, folder=folder).text
        words = ("metadata", "show", last)
        found["fields"] = run_command(program, *words, environment=data, folder=folder).text
        for name in ("a.jpg", "b.jpg"):
            rate(name, 1)
        tagged.tag()
        with database.write() as connection:
            found["changed"] = rows(connection)
            joined = select(photos.c.id).where(photos.c.primary_id.is_not(None))
            separate_files(connection, connection.scalars(joined).all())
            found["separated"] = rows(connection)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    import_changed("tagger.photos.formats", FORMATS, ADDED_FORMAT)
    declare_rating()
    main(Path(sys.argv[1]))
