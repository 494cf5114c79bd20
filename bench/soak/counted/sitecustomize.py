"""Counts the photos that go through the model of the process it is loaded into, in the file that SOAK_PASSES names.

Python imports a module of this name at its start if it lies on PYTHONPATH. Each forward pass adds a line as it ends,
so a process that is killed has said all but the pass it was in.
"""

import os
from functools import wraps
from typing import Any

from tagger.inference.model import Model

passes = os.open(os.environ["SOAK_PASSES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
plain = Model.scores


@wraps(plain)
def counted(self: Model, images: Any) -> Any:
    scores = plain(self, images)
    if any(
        image.any() for image in images
    ):  # a model is warmed up with blank images, which belong to no photo
        os.write(passes, f"{len(images)}\n".encode())
    return scores


Model.scores = counted  # type: ignore[method-assign]
