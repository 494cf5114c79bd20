"""The wake-up: versioned JSON with the id of its ledger, so that a worker with another database refuses it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tagger.database.enums import Priority

VERSION: Literal[1] = 1
TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


class WakeUp(BaseModel):
    """Says that chunks of a priority wait. The worker that receives it claims the next one in SQL."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = VERSION
    ledger: Annotated[str, Field(max_length=100, pattern=r"^[!-~]+$")]
    priority: Annotated[Priority, Field(strict=False)]

    def body(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
