"""The child's side of `ItemProcess`: processes single items of a chunk that the parent has claimed. Run as a module."""

import threading
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from tagger.database.connection import open_configured
from tagger.database.enums import METADATA_KINDS, JobKind
from tagger.database.retry import is_transient
from tagger.errors import LeaseLost, TaggerError
from tagger.jobs.processing.claimed_chunk import ClaimedChunk, Item
from tagger.jobs.processing.classification_chunk import ChunkClassifier
from tagger.jobs.processing.metadata_chunk import MetadataChunkWriter
from tagger.jobs.processing.model_cache import ModelCache
from tagger.ledger.chunks import ChunkName, Claim
from tagger.model.backends.selection import reference_name
from tagger.pipeline.child_main import ParentPipe, Reply, ReplyFunction, reply_to_parent
from tagger.settings import Settings

_MODEL_SETTINGS = {
    "device": "cpu",
    "backend": reference_name(),
    "batch_size": 1,
    "threads": 1,
    "sandbox": "always",
}
"""The reference backend, which needs no device memory beside the parent's. The photo is suspicious: it is decoded elsewhere."""


def _make_answer(config: dict[str, Any], _parent: ParentPipe) -> ReplyFunction:
    settings = Settings(**config["settings"])
    values = config["claim"]
    claim = Claim(**values | {"name": ChunkName(**values["name"]), "kind": JobKind(values["kind"])})
    database = open_configured(settings)
    models = ModelCache(database, settings.model_copy(update=_MODEL_SETTINGS))

    def answer(request: dict[str, Any], _data: bytes) -> Reply:
        stored: list[Item] = []
        chunk = ClaimedChunk(
            database,
            settings,
            claim,
            stop=threading.Event(),
            lease_lost=threading.Event(),
            on_progress=lambda: None,
            on_stored=stored.extend,
            retries=False,  # the parent waits for a database that is away: here, this would look like a photo that hangs
        )
        error = None
        try:
            if claim.kind in METADATA_KINDS:
                MetadataChunkWriter(chunk).write_item(request["position"])
            else:
                ChunkClassifier(chunk, models.get(claim.thresholds)).classify_item(request["position"])
        except LeaseLost:
            pass  # the parent notices when it renews the lease
        except (SQLAlchemyError, TaggerError) as raised:  # says nothing about the photo
            if not (isinstance(raised, SQLAlchemyError) and is_transient(raised)):
                error = str(raised)
        outcomes = [(each.outcome.outcome, each.outcome.reason) for each in stored]
        return {"stored": outcomes, "error": error}, b""

    return answer


if __name__ == "__main__":
    reply_to_parent(_make_answer)
