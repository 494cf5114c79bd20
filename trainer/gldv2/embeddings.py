"""Embeddings of the photos in archives: a file of a model's embeddings for each archive, which later commands reuse.

An interrupted command loses at most one archive's work. An archive may be deleted once its embeddings are there, so that not all
archives need to be on the disk at once.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from tagger.photos.folders import new_file
from trainer.data.pixels import PhotoReader
from trainer.embeddings import EmbeddingModel
from trainer.errors import writing_to
from trainer.gldv2.published_files import (
    ID_LENGTH,
    ArchiveDamaged,
    PhotoIds,
    PhotoLabels,
    find_archives,
    published_checksum,
    read_archive,
)
from trainer.progress import photo_progress

SUFFIX = ".safetensors"
FLOAT16_LIMIT = float(np.finfo(np.float16).max)

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class ArchiveEmbeddings:
    """The readable photos of one archive, and their embeddings."""

    ids: PhotoIds  # S16 (N,)
    embeddings: npt.NDArray[np.float16]  # (N, D)


@dataclass
class EmbeddingProgress:
    """What `embed_archives` did: archives with new and with earlier embeddings, unreadable photos, and why archives are left out."""

    archives: int = 0
    earlier_archives: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0


@dataclass(frozen=True)
class EmbeddingFolder:
    """A folder with the embeddings of listed photos by the model with this digest."""

    path: Path
    model_digest: str
    labels: PhotoLabels

    @cached_property
    def _origin(self) -> dict[str, str]:
        return {"model": self.model_digest, "photos": self.labels.digest}

    def files(self) -> list[Path]:
        """The files of complete archives. Those of another model or list are left out, with a warning."""
        found = sorted(self.path.glob(f"images_*{SUFFIX}"))
        files = [file for file in found if self._origin.items() <= _metadata(file).items()]
        if len(files) < len(found):
            log.warning(
                "%d files in %s are of another model or list, and left out",
                len(found) - len(files),
                self.path,
            )
        return files

    def has(self, archive: Path, checksum: str) -> bool:
        """Whether the embeddings of this version of the archive are there."""
        return (self._origin | {"md5": checksum}).items() <= _metadata(self._file(archive)).items()

    def store(self, archive: Path, checksum: str, photos: ArchiveEmbeddings) -> None:
        """Write the embeddings of an archive.

        Raises:
            OutputUnwritable: with the reason.
        """
        file = self._file(archive)
        ids = photos.ids.view(np.uint8).reshape(-1, ID_LENGTH)
        with writing_to(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            tensors: dict[str, npt.NDArray[Any]] = {"ids": ids, "embeddings": photos.embeddings}
            with new_file(file) as partial_file:
                save_file(tensors, partial_file, self._origin | {"md5": checksum})

    def _file(self, archive: Path) -> Path:
        return self.path / f"{archive.stem}{SUFFIX}"


def read_embeddings(file: Path) -> ArchiveEmbeddings:
    """Read a file that `EmbeddingFolder` wrote."""
    tensors = load_file(file)
    return ArchiveEmbeddings(tensors["ids"].view(f"S{ID_LENGTH}").reshape(-1), tensors["embeddings"])


def embed_archives(archives: Path, model: EmbeddingModel, out: EmbeddingFolder) -> EmbeddingProgress:
    """Embed the listed photos of the archives in a folder, except archives whose embeddings `out` has.

    Damaged archives are left out, with a warning.

    Raises:
        OutputUnwritable: with the reason.
    """
    progress = EmbeddingProgress()
    with photo_progress(f"embedding photos of {archives}", len(out.labels.ids)) as advance:
        for archive in find_archives(archives):
            try:
                checksum = published_checksum(archive)
                if out.has(archive, checksum):
                    progress.earlier_archives += 1
                    continue
                photos, unreadable = _embed(archive, model, out.labels, advance)
            except (ArchiveDamaged, OSError) as error:
                log.warning("%s is left out: %s", archive, error)
                progress.left_out[archive.name] = str(error)
            else:
                out.store(archive, checksum, photos)
                progress.archives += 1
                progress.unreadable += unreadable
    return progress


def _embed(
    archive: Path, model: EmbeddingModel, labels: PhotoLabels, advance: Callable[[int], None]
) -> tuple[ArchiveEmbeddings, int]:
    """The embeddings of an archive's listed photos, and the number of those without: unreadable ones."""
    ids = list[bytes]()

    def contents() -> Iterator[PhotoReader]:
        for photo_id, content in read_archive(archive, labels.has):
            ids.append(photo_id)
            yield f"{archive.name}: {photo_id.decode()}", partial(bytes, content)

    rows, embeddings = list[int](), [np.empty((0, len(model.space.mean)), np.float16)]
    for positions, values in model.embed(contents()):
        # Other values are no embeddings: a comparison with NaN is false.
        is_finite = np.abs(values).max(axis=1) < FLOAT16_LIMIT
        rows += positions[is_finite].tolist()
        embeddings.append(values[is_finite].astype(np.float16))
        advance(len(positions))
    known = np.array([ids[row] for row in rows], dtype=f"S{ID_LENGTH}")
    return ArchiveEmbeddings(known, np.concatenate(embeddings)), len(ids) - len(rows)


def _metadata(file: Path) -> dict[str, str]:
    """What the file says of its origin; nothing if there is no such file or it is damaged."""
    try:
        with safe_open(file, "np") as tensors:
            return tensors.metadata() or {}
    except (OSError, SafetensorError):
        return {}
