"""The message of a chunk: versioned JSON with the id of its ledger, so that a worker with another database refuses it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tagger.ledger.chunks import ChunkName

VERSION: Literal[1] = 1
TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


class ChunkMessage(BaseModel):
    """Identifies a chunk. Everything else about it is in SQL."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = VERSION
    ledger: str
    job: int
    chunk: int

    @property
    def name(self) -> ChunkName:
        return ChunkName(self.job, self.chunk)

    def body(self) -> dict[str, Any]:
        return self.model_dump()
