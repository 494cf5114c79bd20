"""The files of Google Landmarks v2 in the form in which they are published, with photos of the test's own."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def photo_id(number: int) -> str:
    """An id of 16 characters, as spread as the published ones."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


def write_archive(archive: Path, photos: Mapping[str, bytes]) -> Path:
    """Write an archive of photos by id, and the file with its checksum beside it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for each, content in photos.items():
            entry = tarfile.TarInfo(f"{each[0]}/{each[1]}/{each[2]}/{each}.jpg")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    write_checksum(archive)
    return archive


def write_checksum(archive: Path) -> None:
    checksum = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    archive.with_name(f"md5.{archive.stem}.txt").write_text(f"{checksum}  {archive.name}\n")


def write_lists(folder: Path, photos: Mapping[int, list[str]], names: Mapping[int, str]) -> None:
    """Write the cleaned list, the full list and the categories: photo ids and names by landmark id."""
    folder.mkdir(parents=True, exist_ok=True)
    clean = "".join(f"{landmark},{' '.join(ids)}\n" for landmark, ids in photos.items())
    (folder / "train_clean.csv").write_text("landmark_id,images\n" + clean)
    full = [(each, landmark) for landmark, ids in photos.items() for each in ids]
    rows = "".join(
        f'{each},"https://upload.example.org/a,b/{each}.jpg",{landmark}\n' for each, landmark in full
    )
    (folder / "train.csv").write_text("id,url,landmark_id\n" + rows)
    categories = "".join(
        f'{landmark},"http://commons.wikimedia.org/wiki/Category:{name.replace(" ", "_")}"\n'
        for landmark, name in names.items()
    )
    (folder / "train_label_to_category.csv").write_text("landmark_id,category\n" + categories)
