"""Zip archives for tests: a small version of the course's archive, and archives with any entries."""

import io
import warnings
import zipfile
from functools import cache

from support.scenes import scene_bytes


@cache
def course_archive(top: str = "landmark_images", train: str = "train") -> bytes:
    """Two labels, four training photos, two test photos, and the extra files that macOS adds to archives."""
    names = [f"{train}/16.Eiffel_Tower/{n}.jpg" for n in (0, 1)] + [
        f"{train}/21.Taj_Mahal/{n}.jpg" for n in (2, 3)
    ]
    names += ["test/16.Eiffel_Tower/4.jpg", "test/21.Taj_Mahal/5.jpg"]
    files = {f"{top}/{name}": scene_bytes(number) for number, name in enumerate(names)}
    junk = {f"{top}/.DS_Store": b"x", f"__MACOSX/{top}/train/._0.jpg": b"x", f"{top}/readme.txt": b"hello"}
    return zip_of(files | junk)


def zip_of(files: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """An archive with these entries; any name is allowed, also twice."""
    buffer = io.BytesIO()
    entries = list(files.items()) if isinstance(files, dict) else files
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()
