"""The child's side of a `Sandbox`: decodes photos whose bytes the parent sends. Run as a module.

It imports little, so that it starts fast and takes little memory. It imports everything before the first photo, because it
can open no file from then on.
"""

import time
from dataclasses import asdict
from typing import Any

from tagger.metadata.camera import camera_facts
from tagger.photos.containers import digest_container, read_container
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.decoding.formats import load_readers
from tagger.photos.decoding.memory import MEMORY_BUDGET, trim_memory
from tagger.photos.decoding.raw_development import RAW_DEVELOPER
from tagger.pipeline.child_main import ParentPipe, Reply, ReplyFunction, reply_to_parent
from tagger.pipeline.confinement import confine, is_due, limit_cpu, limit_memory

IDLE_S = 300
"""A child without photos ends after this time, and its memory is free."""


def _make_answer(config: dict[str, Any], parent: ParentPipe) -> ReplyFunction:
    load_readers()
    RAW_DEVELOPER.load()
    trim_memory()
    limit_memory(config["memory_bytes"])
    MEMORY_BUDGET.reserve_elsewhere = parent.reserve_memory
    confine()
    data = b""

    def answer(request: dict[str, Any], request_data: bytes) -> Reply:
        nonlocal data
        # Twice the time limit: an image that several threads decode takes more processor time than wall-clock time.
        limit_cpu(2 * config["timeout_s"])
        if "open" in request:
            data = request_data
            return _open_reply(data), b""
        photo, data = data, b""
        resize = Resize(**request["decode"])
        image = decode_photo(photo, resize, max_pixels=config["max_pixels"])
        reply = {"width": image.width, "height": image.height, "damaged": image.is_damaged}
        return reply, image.pixels.tobytes()

    return answer


def _open_reply(data: bytes) -> dict[str, object]:
    container = read_container(data)
    facts = asdict(camera_facts(data, container))
    taken_at = facts["taken_at"]
    return {
        "digest": digest_container(container, data),
        **facts,
        "taken_at": taken_at and taken_at.isoformat(),
    }


if __name__ == "__main__":
    reply_to_parent(_make_answer, idle_s=IDLE_S, is_due=lambda: is_due(time.process_time()))
