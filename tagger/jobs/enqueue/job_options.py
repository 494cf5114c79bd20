"""The options of jobs: how photos are classified, and which metadata is written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, StrictBool, TypeAdapter, ValidationError

from tagger.database.connection import Database
from tagger.database.enums import Target
from tagger.ledger.jobs import WRITE, InferenceOptions
from tagger.photos.facts import LARGEST_ERROR_M
from tagger.registry.registered_models import resolve_models
from tagger.settings import Settings
from tagger.tags.models_in_use import THINGS
from tagger.texts.names import LANGUAGE_PATTERN
from tagger.texts.text_format import N_


def inference_options(database: Database, settings: Settings, *, reprocess: bool = False) -> InferenceOptions:
    """The options of new jobs: those of the settings, else the models in use, each with its own threshold.

    A threshold of the settings is one of landmarks.

    Raises:
        ModelNotFound, ModelNotSelected: there is no such model.
    """
    given = settings.threshold
    (first, threshold), *others = [
        (each.id, each.manifest.threshold if given is None or each.manifest.kind == THINGS else given)
        for each in resolve_models(database, settings.model)
    ]
    return InferenceOptions(first, settings.top_k, threshold, reprocess=reprocess, other_models=tuple(others))


# The default of the largest error of estimated positions: most programs show no error.
MAX_ERROR_M = 5000
# The key, in the options of an undo job, of the one job whose writes are undone.
UNDO_JOB = "undo_job"


# The kinds of values that are written.
KEYWORDS, PLACE, POSITION, DESCRIPTION = N_("keywords"), N_("place"), N_("position"), N_("description")

# What jobs and schedules of version 1 store; now nothing is written into buckets.
_FOR_BUCKETS = "embed_objects"


@dataclass(frozen=True)
class MetadataOptions:
    """`gps` also writes the landmark's position, `description` a text; both only into empty fields.
    `things` also writes keywords for what else a photo shows.

    `language`: of the names; None: that of the models. `max_error_m`: estimated positions with at most this
    error are written too; None: none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    to: Target
    gps: StrictBool = False
    description: StrictBool = False
    language: Annotated[str, Field(pattern=LANGUAGE_PATTERN)] | None = None
    max_error_m: Annotated[int, Field(strict=True, gt=0, le=LARGEST_ERROR_M)] | None = None
    things: StrictBool = False

    @property
    def fields(self) -> list[str]:
        """The kinds of values that are written, where a photo has tags, or a position to write."""
        has_position = self.gps or self.max_error_m is not None
        optional = ((POSITION, has_position), (DESCRIPTION, self.description))
        return [KEYWORDS, PLACE, *(name for name, is_written in optional if is_written)]

    def to_job_options(self) -> dict[str, object]:
        """The options as a job stores them."""
        return {WRITE: {name: value for name, value in asdict(self).items() if value is not None}}

    @classmethod
    def from_job_options(cls, options: Mapping[str, Any]) -> Self | None:
        """The options that a job stores; None if it writes no metadata.

        Raises:
            ValueError: these are not options that a job stores.
        """
        written = options.get(WRITE)
        if written is None:
            return None
        if isinstance(written, Mapping):
            written = {name: value for name, value in written.items() if name != _FOR_BUCKETS}
        try:
            return TypeAdapter(cls).validate_python(written)
        except ValidationError as error:
            raise ValueError(f"its metadata options are invalid: {error.errors()[0]['msg']}") from error
