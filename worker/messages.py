"""The wake-up: versioned JSON."""

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
    priority: Annotated[Priority, Field(strict=False)]

    def body(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
