"""The message of a chunk: versioned JSON with the id of its ledger, so that a worker with another database refuses it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tagger.ledger.chunks import ChunkName

VERSION: Literal[1] = 1
TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


class ChunkMessage(BaseModel):
    """Identifies a chunk. Everything else about it is in SQL."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = VERSION
    ledger: Annotated[str, Field(max_length=100, pattern=r"^[!-~]+$")]
    job: Annotated[int, Field(ge=0, lt=2**31)]
    chunk: Annotated[int, Field(ge=0, lt=2**31)]

    @property
    def name(self) -> ChunkName:
        return ChunkName(self.job, self.chunk)

    def body(self) -> dict[str, Any]:
        return self.model_dump()
