"""The Python interface: a library of photos, its jobs, and models for single photos.

`import tagger` offers these names and imports this package only when one of them is used. What is public here
is a promise: docs/reference/python.md lists it.
"""

from __future__ import annotations

import io
import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import SAVE_INFO

from tagger.database import Priority, Target, VerdictKind
from tagger.database.connection import Database, login_name, open_configured
from tagger.database.engine import address_for_reading, sqlite_file
from tagger.errors import (
    ArgumentInvalid,
    EmbeddingsMissing,
    NotFound,
    PhotoFailed,
    PhotoNotFound,
    ProcessBound,
)
from tagger.interface.results import (
    BackfillConditions,
    Conditions,
    Failure,
    Job,
    Named,
    Photo,
    Photos,
    Progress,
    job_of,
    path_of,
    paths_of,
    query_of,
)
from tagger.jobs.enqueue.metadata_jobs import Undo
from tagger.jobs.enqueue.selection import select_paths
from tagger.jobs.enqueue.submission import (
    Backfill,
    BackfillScope,
    JobRequest,
    MetadataOptions,
    Tagging,
    submit,
)
from tagger.jobs.processing.model_cache import open_local_model
from tagger.landmarks.edits import NewLandmark, check_position, find_or_add_landmark
from tagger.ledger.job_control import list_jobs, recover_stale_jobs
from tagger.ledger.workers import list_workers
from tagger.photos.decoding import DecodedImage
from tagger.photos.decoding.limits import failing_alone
from tagger.photos.paths import named_path
from tagger.query.counts import LandmarkCount, landmark_counts
from tagger.query.details import photo_details
from tagger.registry import (
    RegisteredModel,
    embedding_model,
    models_to_try,
)
from tagger.registry.registration import landmarks_of_labels
from tagger.roots import is_stored
from tagger.settings import Settings, load_settings
from tagger.teaching.learning import (
    TaughtState,
    embedding_of,
    find_examples,
    paths_to_tag,
)
from tagger.teaching.lessons import lesson_of, teach, update_consequences
from tagger.teaching.questions import (
    Question,
    answer_question,
    open_questions,
)
from tagger.verdicts import give_verdicts, photo_ids_at

if TYPE_CHECKING:
    from enum import StrEnum

    import numpy.typing as npt

    Choice = TypeVar("Choice", bound=StrEnum)
    ImageLike = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]


log = logging.getLogger(__name__)


class Library:
    """A database of photos. Use it as a context manager, or call `close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = open_configured(settings)
        self._database.after_decisions = partial(
            update_consequences, self._database, settings.model
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Library {self._database.redacted_url}>"

    def close(self) -> None:
        """Close the connections to the database. The library, its jobs and its queries then end."""
        self._database.close()

    def tag(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        again: bool = False,
        write: Literal["sidecar", "embed"] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        on_progress: Progress | None = None,
    ) -> Job:
        """Tag the photos of files, folders and buckets in this process, and return when all have an outcome.

        Photos that the model has tagged already are skipped, unless `again`. `write`: write the tags to the
        photos' metadata, too. `include` and `exclude` are patterns, as those of `tagger tag`.

        Raises:
            PathNotFound, RootUnavailable, BucketUnavailable: a path does not exist, or its disk is away.
            ModelNotFound, ModelNotSelected: there is no model to tag with.
            ArgumentInvalid: `write` is none of the choices.
        """
        request = _tagging(paths, include, exclude, again=again, write=write)
        return self._submit(request, Priority.INTERACTIVE, on_progress, local=True)

    def enqueue(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        priority: Literal["interactive", "bulk"] = "bulk",
        again: bool = False,
        write: Literal["sidecar", "embed"] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Job:
        """Record a job that tags the photos, and send it to the workers, which find it when Redis is back.

        Raises:
            PathNotFound, RootUnavailable, BucketUnavailable: as `tag`.
            ModelNotFound, ModelNotSelected, ArgumentInvalid: as `tag`.
        """
        request = _tagging(paths, include, exclude, again=again, write=write)
        return self._submit(request, _choice(Priority, "priority", priority))

    def backfill(
        self,
        what: Literal["untagged", "outdated", "failed", "all", "taught"],
        *,
        write: Literal["sidecar", "embed"] | None = None,
        on_progress: Progress | None = None,
        **conditions: Unpack[BackfillConditions],
    ) -> Job:
        """Tag photos of the database again, as `tagger backfill`: by workers if one runs, else here.

        Raises:
            ArgumentInvalid: `what` or `write` is none of the choices.
            QueryOptionInvalid: a condition has an invalid value, or is none of backfills.
            LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: there is no such place, or several.
            ModelNotFound, ModelNotSelected, EmbeddingsMissing: there is no model for it.
        """
        scope = _choice(BackfillScope, "what", what)
        query = query_of(conditions, BackfillConditions)
        request = Backfill(scope, query, write=_metadata_options(write))
        is_local = not list_workers(self._database)
        return self._submit(request, Priority.BULK, on_progress, local=is_local)

    def undo(
        self,
        photos: Named | Iterable[Named] = (),
        *,
        job: int | None = None,
        on_progress: Progress | None = None,
    ) -> Job:
        """Undo what was written to the metadata of photos and folders, or by one job; return its job.

        A file that no other program has changed since becomes identical to the original. Files that the
        database does not know, such as copies of written photos, stay as they are.

        Raises:
            ArgumentInvalid: neither photos nor a job is named.
            PhotoNotFound, JobNotFound: the database has no such photo, folder or job.
        """
        paths = paths_of(photos)
        if not paths and job is None:
            raise ArgumentInvalid(
                argument="photos", reason="name photos, folders, or a job"
            )
        request = Undo(job, paths)
        request.check(self._database, self._settings.roots)
        for path in paths:
            if not is_stored(self._database, path, self._settings.roots):
                raise PhotoNotFound(path=str(path))
        return self._submit(request, Priority.INTERACTIVE, on_progress, local=True)

    def photos(self, **conditions: Unpack[Conditions]) -> Photos:
        """Return the photos that meet all conditions: by default, those with an accepted tag, with these.

        Nothing is read before the result is used.

        Raises:
            QueryOptionInvalid: a condition is unknown, has an invalid value, or contradicts another one.
        """
        query = query_of(conditions, Conditions)
        return Photos(self._database, self._settings.roots, query, conditions)

    def photo(self, path: str | Path) -> Photo:
        """Return a photo with all its tags, accepted or not.

        Raises:
            PhotoNotFound: the library does not have it.
        """
        return photo_details(self._database, path_of(path), self._settings.roots).photo

    def landmarks(self, country: str | None = None) -> list[LandmarkCount]:
        """Return the landmarks of the photos, those with most photos first.

        Raises:
            CountryNotFound: no landmark or photo is in that country.
        """
        _require_text(country=country or "")
        return list(landmark_counts(self._database, country))

    def confirm(self, landmark: str, photos: Named | Iterable[Named]) -> None:
        """Say that photos show a landmark: they keep its tag, whatever a model says. What was taught learns.

        Raises:
            LandmarkNotFound, LandmarkAmbiguous: there is no such landmark, or there are several.
            PhotoNotFound, PhotoNotClassified: the library lacks a photo, or no model has classified it.
        """
        self._give_verdicts(landmark, photos, VerdictKind.CONFIRMED)

    def reject(self, landmark: str, photos: Named | Iterable[Named]) -> None:
        """Say that photos do not show a landmark: they never get its tag.

        Raises:
            LandmarkNotFound, LandmarkAmbiguous, PhotoNotFound, PhotoNotClassified: as `confirm`.
        """
        self._give_verdicts(landmark, photos, VerdictKind.REJECTED)

    def teach(
        self,
        landmark: str,
        photos: Named | Iterable[Named],
        *,
        at: tuple[float, float] | None = None,
        country: str | None = None,
        rejected: Named | Iterable[Named] = (),
    ) -> TaughtState:
        """Teach a landmark from photos of it, five from different sides at best, and tag all that show it.

        A landmark that does not exist is added, `at` (latitude, longitude) in degrees. Photos that the
        library does not have, and those of folders, are tagged first. `rejected` are photos that do not show
        it. Photos that cannot be examples are left out, and logged.

        Raises:
            ArgumentInvalid: a photo, or a copy of it, is both an example and rejected.
            ExamplesMissing: none of the photos can be an example.
            LandmarkNotFound: there is no such landmark, and no photo of it is named.
            EmbeddingsMissing: the model cannot be taught.
            LandmarkAmbiguous, LandmarkInvalid: several landmarks have the name, or it cannot be one.
            LandmarkInvalid: it exists with another position or country.
        """
        _require_text(landmark=landmark, country=country or "")
        new = NewLandmark(
            landmark,
            country=country,
            position=None if at is None else check_position(at),
        )
        database, roots = self._database, self._settings.roots
        find_or_add_landmark(
            database, new, dry_run=True
        )  # before photos are tagged for it
        model = embedding_model(database, self._settings.model)
        embedding_of(model)
        groups = paths_of(photos), paths_of(rejected)
        if untagged := paths_to_tag(database, model, chain(*groups), roots):
            self._submit(
                Tagging(select_paths(untagged)), Priority.INTERACTIVE, local=True
            )
        lesson = lesson_of(
            *(find_examples(database, model, paths, roots) for paths in groups)
        )
        for example in lesson.left_out:
            log.warning(
                "%s is left out: %s",
                example.path,
                example.failure or "it has no embedding",
            )
        return teach(database, model, new, lesson, login_name()).state

    def questions(self) -> list[Question]:
        """Return places whose photos look alike, with photos without a position that look like them.

        The surest are first. More follow once these have answers.
        """
        return open_questions(self._database, self._settings.roots)

    def answer(
        self, question: int, place: str | None, *, without: Named | Iterable[Named] = ()
    ) -> None:
        """Confirm a place on the photos of a question that were taken there, and teach it from them.

        `question` is its number. `place` is one of its choices, or any other name; None: the photos show no
        place. `without` are photos of the question that do not show it.

        Raises:
            PhotoNotFound: the library does not have a photo.
            NotFound: no question with this number waits.
            ExamplesMissing: none of the photos that were taken there is left.
        """
        if place is not None:
            _require_text(place=place)
        database, roots = self._database, self._settings.roots
        model = embedding_model(database, self._settings.model)
        struck = photo_ids_at(database, paths_of(without), roots)
        answer_question(database, model, question, place, struck, login_name(), roots)

    def jobs(self) -> list[Job]:
        """Return all jobs, newest first."""
        return [
            Job(self._database, self._settings, progress)
            for progress in list_jobs(self._database)
        ]

    def job(self, number: int) -> Job:
        """Return one job.

        Raises:
            JobNotFound: there is none with this number.
        """
        return job_of(self._database, self._settings, number)

    def load_model(self) -> PhotoModel:
        """Load the model of the settings for single photos, or the first one in use.

        Raises:
            ModelNotFound, ModelFileNotFound, ModelChanged, ModelRefused: as the function `load_model`.
        """
        registered, *_ = models_to_try(self._database, self._settings.model)
        with self._database.read() as connection:
            landmarks = landmarks_of_labels(connection, registered.manifest.labels)
        names = [(landmark.slug, landmark.display_name) for landmark in landmarks]
        return PhotoModel(registered, names, self._settings, self._database)

    def _submit(
        self,
        request: JobRequest,
        priority: Priority,
        on_progress: Progress | None = None,
        *,
        local: bool = False,
    ) -> Job:
        # Record a job; run it in this process, or wake the workers for it.
        recover_stale_jobs(self._database)
        number, _ = submit(
            self._database, self._settings, request, priority, local=local
        )
        job = self.job(number)
        if not local:
            from worker.producer import wake_workers

            # If Redis is away, that is no error: workers find the job in the database.
            wake_workers(self._database, self._settings)
            return job

        from tagger.jobs.processing.executor import run_job, run_local_jobs

        def report() -> None:
            if on_progress is not None and not job.is_over:
                job.refresh()
                on_progress(job)

        def run(number: int) -> None:
            if not self.job(number).is_over:
                run_job(self._database, self._settings, number, report)

        for _ in run_local_jobs(self._database, number, run, "tag again"):
            pass
        job.refresh()
        return job

    def _give_verdicts(
        self, landmark: str, photos: Named | Iterable[Named], kind: VerdictKind
    ) -> None:
        _require_text(landmark=landmark)
        give_verdicts(
            self._database,
            paths_of(photos),
            landmark,
            kind,
            login_name(),
            self._settings.roots,
        )


def _tagging(
    paths: str | Path | Iterable[str | Path],
    include: Sequence[str],
    exclude: Sequence[str],
    *,
    again: bool,
    write: Literal["sidecar", "embed"] | None,
) -> Tagging:
    # The photos to tag, and how. One pattern may be a text, which else would be a sequence of letters.
    included, excluded = (
        (each,) if isinstance(each, str) else each for each in (include, exclude)
    )
    return Tagging(
        select_paths(paths_of(paths), included, excluded),
        again,
        _metadata_options(write),
    )


def _metadata_options(
    write: Literal["sidecar", "embed"] | None,
) -> MetadataOptions | None:
    return None if write is None else MetadataOptions(_choice(Target, "write", write))


def _require_text(**values: object) -> None:
    # Raises:
    # ArgumentInvalid: a value is not a text.
    for argument, value in values.items():
        if not isinstance(value, str):
            raise ArgumentInvalid(argument=argument, reason=f"{value!r} is not a text")


def _choice(kind: type[Choice], argument: str, value: str) -> Choice:
    # The member of an enumeration that an argument names.
    #
    # Raises:
    #     ArgumentInvalid: it names none.
    try:
        return kind(value)
    except ValueError:
        reason = f"{value!r} is not possible. Choose one of {', '.join(kind)}"
        raise ArgumentInvalid(argument=argument, reason=reason) from None


# Images whose pixels a model holds in memory.
IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Prediction:
    """A landmark in an image, with its calibrated score. `accepted`: it reaches the threshold."""

    landmark: str
    name: str
    score: float
    accepted: bool


class PhotoModel:
    """A loaded model. Images are paths, bytes, images of Pillow, or arrays uint8 (H, W, 3) in RGB."""

    def __init__(
        self,
        registered: RegisteredModel,
        names: Sequence[tuple[str, str]],
        settings: Settings,
        database: Database,
    ) -> None:
        self.name = registered.name
        self._process = os.getpid()
        self._registered = registered
        self._names = names
        manifest = registered.manifest
        self._threshold = (
            manifest.threshold if settings.threshold is None else settings.threshold
        )
        with ExitStack() as stack:
            self._model = stack.enter_context(
                open_local_model(registered, settings, database)
            )
            self._close = weakref.finalize(self, stack.pop_all().close)

    def __repr__(self) -> str:
        return f"<PhotoModel {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise self._bound()

    def close(self) -> None:
        """End the processes that decode suspicious photos."""
        self._close()

    @overload
    def predict(self, images: ImageLike, top_k: int = 5) -> list[Prediction]: ...  # type: ignore[overload-overlap] # text is a path
    @overload
    def predict(
        self, images: Iterable[ImageLike], top_k: int = 5
    ) -> list[list[Prediction]]: ...
    def predict(
        self, images: ImageLike | Iterable[ImageLike], top_k: int = 5
    ) -> list[Prediction] | list[list[Prediction]]:
        """Return the `top_k` landmarks of an image, best first; of several images, a list for each.

        Raises:
            ArgumentInvalid: something else than an image, or `top_k` is no number from 1.
            PhotoFailed: an image cannot be read.
        """
        if not isinstance(top_k, int | np.integer) or top_k < 1:
            raise ArgumentInvalid(
                argument="top_k", reason=f"{top_k!r} is not a whole number from 1"
            )
        found = [
            [
                Prediction(*self._names[each.position], each.score, each.accepted)
                for each in best
            ]
            for part in self._decoded_parts(images)
            for best in self._model.predictions(part, top_k, self._threshold)
        ]
        return found[0] if _is_single(images) else found

    def embed(self, images: ImageLike | Iterable[ImageLike]) -> npt.NDArray[np.float32]:
        """Return the embedding of an image, float32 (D,); of several images, float32 (N, D).

        Raises:
            EmbeddingsMissing: the model gives none.
            ArgumentInvalid: something else than an image.
            PhotoFailed: an image cannot be read.
        """
        embedding = self._registered.manifest.embedding
        if embedding is None:
            raise EmbeddingsMissing(name=self.name)
        rows = [
            row
            for part in self._decoded_parts(images)
            for row in self._model.embeddings(part)
        ]
        found = np.array(rows, np.float32).reshape(-1, embedding.dimension)
        return found[0] if _is_single(images) else found

    def _decoded_parts(
        self, images: ImageLike | Iterable[ImageLike]
    ) -> Iterator[list[DecodedImage]]:
        if (
            os.getpid() != self._process
        ):  # threads of the model do not exist in a fork of the process
            raise self._bound()
        several = cast("Iterable[object]", [images] if _is_single(images) else images)
        rest = enumerate(several, 1)
        while part := list(islice(rest, IMAGES_AT_ONCE)):
            yield [self._decoded(image, number) for number, image in part]

    def _decoded(self, image: object, number: int) -> DecodedImage:
        name = str(image) if isinstance(image, str | Path) else f"image {number}"
        try:
            if isinstance(image, str | Path):
                photo = self._model.open(str(named_path(image)))
            else:
                photo = self._model.open_bytes(_file(image))
            return photo.decode(self._model.resize)
        except PhotoFailed as failed:
            raise PhotoFailed(
                failed.failure.kind, failed.failure.text, name
            ) from failed

    @staticmethod
    def _bound() -> ProcessBound:
        return ProcessBound(what="A model", call="tagger.load_model")


def _is_single(images: object) -> bool:
    # Whether it is one image, rather than several; an array (N, H, W, 3) has several.
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, str | Path | bytes | Image.Image) or not isinstance(
        images, Iterable
    )


def _file(image: object) -> bytes:
    # Return the image as a file; of pixels, one without loss, so that they are decoded as photos are.
    #
    # Raises:
    #     ArgumentInvalid: it is no image.
    #     PhotoFailed: Pillow cannot read it.
    if isinstance(image, bytes):
        return image
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
            reason = f"an array must be uint8 (H, W, 3), and this one is {image.dtype} {image.shape}"
            raise ArgumentInvalid(argument="images", reason=reason)
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        reason = (
            f"an image is a path, bytes, an image of Pillow, or an array uint8 (H, W, 3), not "
            f"{type(image).__name__}"
        )
        raise ArgumentInvalid(argument="images", reason=reason)
    file = io.BytesIO()
    with failing_alone(b""):
        upright = ImageOps.exif_transpose(image)
        if upright.mode not in SAVE_INFO:
            upright = upright.convert("RGB")
        upright.save(file, "TIFF", icc_profile=image.info.get("icc_profile"))
    return file.getvalue()


__all__ = [
    "Failure",
    "Job",
    "Library",
    "Photo",
    "PhotoModel",
    "Photos",
    "Prediction",
    "load_model",
    "open",
]


def open(  # noqa: A001 - as gzip.open and others
    address: str | Path | None = None, *, create: bool = False, **settings: Any
) -> Library:
    """Open a library of photos.

    `address` is the URL of a database, or the path of an SQLite file; by default, it is that of the command
    line, which is created when it is first used. `create`: create the file if it does not exist. Further
    `settings` are those of docs/reference/settings.md, in lower case and without `TAGGER_`:
    `tagger.open(device="cpu", top_k=3)`.

    Raises:
        NotFound: there is no file at `address`.
        SettingsInvalid: a setting has a wrong value.
        DatabaseUnavailable, SchemaOutdated: the database cannot be opened.
    """
    if address is not None:
        text = str(address)
        file_url = f"sqlite:///{quote(str(named_path(text).absolute()))}"
        settings["database_url"] = text if "://" in text else file_url
    loaded = _settings(**settings)
    file = sqlite_file(loaded.effective_database_url)
    if (
        settings.get("database_url") is not None
        and file is not None
        and not (create or file.exists())
    ):
        remedy = (
            "Check the name, or create a library there: tagger.open(..., create=True)."
        )
        raise NotFound(reason=f"There is no library at {file}. {remedy}")
    return Library(loaded)


def _settings(**settings: Any) -> Settings:
    if isinstance(settings.get("model"), str | Path):
        # `./NAME` is a file, and NAME is not.
        settings["model"] = os.path.expanduser(settings["model"])  # noqa: PTH111
    return load_settings(**settings)


def load_model(model: str | Path | None = None, *, device: str = "auto") -> PhotoModel:
    """Load a model for single photos: the one in use, a registered one, or a file, which is a program.

    Raises:
        ModelNotFound, ModelFileNotFound, ModelChanged, ModelRefused: there is none, or it cannot be used.
    """
    settings = _settings(device=device, model=model)
    address = address_for_reading(settings.effective_database_url)  # nothing is stored
    with Library(settings.model_copy(update={"database_url": address})) as library:
        return library.load_model()
