"""A program that reads one format more, declared as any other: a line of its declarations, and its reader.

`python -m support.added_format FOLDER` tags a photo of that format, and prints what there is of it.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

from support.changed_declarations import import_changed

DECLARED = "PHOTO_FORMATS = (JPEG, "
ADDED = (
    'PHOTO_FORMATS = (PhotoFormat("QOI", (".qoi",), _starts_with(b"qoif"), "support.qoi_format:READER", '
    '"image/x-qoi"), JPEG, '
)


def declare_qoi() -> None:
    """Add the format to the declarations."""
    import_changed("tagger.photos.formats", DECLARED, ADDED)


def main(folder: Path) -> None:
    """Print what a scan, the page and the metadata of a photo give."""
    from PIL import Image
    from support.artifacts import colour_of
    from support.command_line import run_command
    from support.empty_databases import empty_database
    from support.page_server import client_of_page, settings_in
    from support.raw_pairs import PairFolder
    from support.written_folder import SIDECAR_OF_USER

    from tagger.cli.main import main as program
    from tagger.photos.containers import digest_photo

    encoded = io.BytesIO()
    Image.new("RGB", (480, 320), colour_of(0)).save(encoded, "QOI")
    image, xmp = encoded.getvalue(), SIDECAR_OF_USER.encode()
    settings = settings_in(folder)
    found: dict[str, Any] = {"is same image": digest_photo(image) == digest_photo(image + xmp)}
    with empty_database(settings.data_folder) as database:
        tagged = PairFolder(database, folder)
        photo = tagged.folder / "a.qoi"
        photo.write_bytes(image + xmp)
        tagged.tag()
        found["tags"] = tagged.found()
        with client_of_page(settings, database) as client:
            listed = client.get("/api/photos", params={"any_rank": 1}).json()["photos"]
            found["sizes"] = [[each["width"], each["height"]] for each in listed]
            response = client.get(f"/api/photos/{listed[0]['id']}/image")
            found["image"] = [response.headers["content-type"], response.content == image + xmp]
        data = {"TAGGER_DATA_FOLDER": str(settings.data_folder)}
        words = ("metadata", "show", str(photo))
        found["fields"] = run_command(program, *words, environment=data, folder=folder).text
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    declare_qoi()
    main(Path(sys.argv[1]))
