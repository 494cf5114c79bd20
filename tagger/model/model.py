"""A loaded artifact on a device. Knows nothing of files of photos or of SQL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tagger.errors import ExtraMissing, SettingsInvalid
from tagger.model.artifact import Manifest, Range, load_module
from tagger.model.backends import (
    Backend,
    BackendName,
    BackendOptions,
    Conversions,
    Embeddings,
    Outputs,
    Scores,
    SelectionKey,
    SelectionStore,
    is_out_of_memory,
)
from tagger.model.backends.selection import BackendSelector, reference_name
from tagger.model.devices import Device, core_count
from tagger.photos.decoding.limits import trim_memory
from tagger.processes.metrics import BATCH_SIZE

if TYPE_CHECKING:
    import torch

    from tagger.photos.decoding import Pixels


log = logging.getLogger(__name__)

# Held until a model was loaded and has run. Engines fill static variables in their first pass, and
# two threads that do so at once can stop the process for good: one waits for the variable with the
# lock held.
_FIRST_USE = threading.Lock()


class OutOfDeviceMemory(Exception):
    """The device has no memory left even for a single image; the image is not the cause."""


class Model:
    """A loaded model. Up to `at_once` threads may call it at a time.

    `batch_size` is the most images of a forward pass; it is halved when the device runs out of memory. On a
    GPU all passes have that size, since each new one makes cuDNN plan for a second: as long as 60 passes.

    `things`: the model of things that its passes run, too, which is `beside` it.
    """

    things: Model | None = None
    beside: Model | None = None

    def __init__(self, backend: Backend, manifest: Manifest, device: Device) -> None:
        self._backend = backend
        self.manifest = manifest
        self.batch_size = device.batch_size
        self._device = device
        BATCH_SIZE.set(self.batch_size)

    @property
    def at_once(self) -> int:
        return self._backend.at_once

    def join(self, things: Manifest) -> Model:
        """The model of things that the backend of this one runs, too."""
        self.things = Model(self._backend, things, self._device)
        self.things.beside = self
        return self.things

    @property
    def backend_name(self) -> BackendName:
        return self._backend.name

    def predict(self, images: Sequence[Pixels]) -> Outputs:
        """Return the checked outputs for images, each uint8 (size, size, 3) RGB, in order.

        Raises:
            OutOfDeviceMemory: there is no memory for a single image.
            ValueError: the model returned an array of the wrong shape.
        """
        return self.predict_all(images)[self]

    def predict_all(self, images: Sequence[Pixels]) -> dict[Model, Outputs]:
        """As `predict`, for each model that the pass runs."""
        if self.beside is not None:
            return self.beside.predict_all(images)
        scores, embeddings, things = self.outputs(images)
        rule = self.manifest.embedding
        scores = _checked("scores", scores, (len(images), len(self.manifest.labels)))
        if rule is not None:
            embeddings = _checked(
                "embeddings", embeddings, (len(images), rule.dimension)
            )
        outputs = {self: Outputs(scores, None if rule is None else embeddings)}
        if self.things is not None:
            shape = len(images), len(self.things.manifest.labels)
            outputs[self.things] = Outputs(_checked("scores", things, shape))
        return outputs

    def outputs(self, images: Sequence[Pixels]) -> Outputs:
        """Return calibrated scores, whose rows sum to at most 1, and embeddings. `predict` checks them."""
        outputs = self._in_batches(images)
        if self.manifest.second_look is None:
            return outputs
        return self._look_again(outputs, images, self.manifest.second_look)

    def _look_again(
        self, outputs: Outputs, images: Sequence[Pixels], near: Range
    ) -> Outputs:
        # Scores whose highest is in this range, without its end, become means with those of mirror images.
        highest, (least, limit) = outputs.scores.max(axis=1), near
        rows = np.flatnonzero((highest >= least) & (highest < limit))
        if not len(rows):
            return outputs
        scores = outputs.scores.copy()
        mirrored = [images[row][:, ::-1] for row in rows.tolist()]
        scores[rows] = (scores[rows] + self._in_batches(mirrored).scores) / 2
        return outputs._replace(scores=scores)

    def _in_batches(self, images: Sequence[Pixels]) -> Outputs:
        parts: list[Outputs] = []
        done = 0
        while done < len(images):
            batch_size = self.batch_size
            part = images[done : done + batch_size]
            outputs = self._forward_if_it_fits(part, batch_size)
            if outputs is None:
                self._reduce_batch_size(batch_size // 2)
            else:
                parts.append(outputs)
                done += len(part)
        return parts[0] if len(parts) == 1 else Outputs.joined(parts)

    def free_memory(self) -> None:
        """Release memory kept for later passes. Call it when no photos are expected soon."""
        self._backend.free_memory()
        trim_memory()

    def _forward_if_it_fits(
        self, images: Sequence[Pixels], batch_size: int
    ) -> Outputs | None:
        # None if the device has no memory for several images. The error's frames free theirs then.
        try:
            return self._forward(images, batch_size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise OutOfDeviceMemory(str(error)) from error
            return None

    def _forward(self, images: Sequence[Pixels], batch_size: int) -> Outputs:
        rows = len(images) if self._device.kind == "cpu" else batch_size
        size = self.manifest.input.size
        batch = np.empty((rows, size, size, 3), dtype=np.uint8)
        for row, image in zip(batch, images, strict=False):
            np.copyto(row, image)
        return self._backend.forward(batch).first(len(images))

    def _reduce_batch_size(self, batch_size: int) -> None:
        if batch_size < self.batch_size:  # else another thread has reduced it already
            log.warning(
                "out of device memory with a batch of %d; the batch size is now %d",
                self.batch_size,
                batch_size,
            )
            self.batch_size = batch_size
            BATCH_SIZE.set(batch_size)
        self._backend.free_memory()


def load_model(
    path: Path,
    digest: str,
    manifest: Manifest,
    device: Device,
    *,
    threads: int | None = None,
) -> Model:
    """Load an artifact into the reference backend, for one forward pass at a time.

    Raises:
        ModelRefused: the file's digest is not `digest`, or torch cannot run the file.
        ExtraMissing: the model or the device needs torch, which is not installed.
    """
    load = partial(_load, path, digest, device, threads or core_count())
    conversions = Conversions(path, digest, None)
    selector = BackendSelector(
        load,
        device,
        manifest.input.size,
        1,
        manifest.ranges,
        conversions,
    )
    with _FIRST_USE:
        return _warm_up(Model(selector.load(reference_name()), manifest, device))


def load_fastest_model(
    manifest: Manifest,
    device: Device,
    options: BackendOptions,
    selections: SelectionStore,
    conversions: Conversions,
) -> Model:
    """Load an artifact into the backend that is fastest on machines of this kind, as selected before or now.

    `conversions` may keep the model as OpenVINO compiled it: then a start imports no torch.

    Raises:
        ModelRefused: the file's digest is not `digest`, or torch cannot run the file.
        SettingsInvalid: the backend that `options` name cannot run the model.
        ExtraMissing: the model needs torch, which is not installed.
    """
    # One pass per core, each on one thread, so that no pass waits for the threads of another.
    load = partial(_load, conversions.artifact, conversions.digest, device, 1)
    selector = BackendSelector(
        load, device, manifest.input.size, options.at_once, manifest.ranges, conversions
    )
    key = SelectionKey.of(conversions, device, options)
    choice = selections.find(key)
    with _FIRST_USE:
        model = (
            None if choice is None else _load_choice(choice, selector, manifest, device)
        )
        if model is not None:
            return model
        with conversions.lock():
            latest = selections.find(key)
            if latest not in (None, choice):  # another process has chosen meanwhile
                model = _load_choice(latest, selector, manifest, device)
                if model is not None:
                    return model
            log.warning(
                "Choosing the fastest way to run the model here, for some seconds"
            )
            backend, is_final = selector.choose(options.backend)
            model = Model(backend, manifest, device)
            if not is_final:
                model.free_memory()  # also that of the backends that were not chosen
                return model
            selections.store(key, backend.name)
            selector.keep(backend)
            return _warm_up(model)


def _load(
    path: Path, digest: str, device: Device, threads: int
) -> torch.jit.ScriptModule:
    # Load the module to the CPU. If it also runs there, each forward pass will use `threads` threads.
    import torch

    if device.kind == "cpu":
        torch.set_num_threads(threads)
    return load_module(path, digest)


def _load_choice(
    choice: BackendName, selector: BackendSelector, manifest: Manifest, device: Device
) -> Model | None:
    # Load the model into a backend that was selected before; None if that no longer runs.
    try:
        backend = selector.load(choice)
        model = _warm_up(Model(backend, manifest, device))
    except (ExtraMissing, SettingsInvalid) as error:
        log.warning(
            "the backend that was selected does not run: %s", error.__cause__ or error
        )
        return None
    selector.keep(backend)
    return model


def _checked(
    name: str,
    values: Scores | Embeddings | None,
    expected: tuple[int, int],
) -> Scores | Embeddings:
    if values is None or values.shape != expected:
        shape = None if values is None else values.shape
        raise ValueError(
            f"the model returned {name} of shape {shape} instead of {expected}"
        )
    return values


def _warm_up(model: Model) -> Model:
    # Run blank images in the thread that loads the model. TorchScript compiles in its first two passes.
    size = model.manifest.input.size
    blank = np.zeros((size, size, 3), dtype=np.uint8)
    is_compiled_late = model.backend_name == "torchscript"
    for count in (1, model.batch_size, model.batch_size) if is_compiled_late else (1,):
        model.outputs([blank] * count)
    model.free_memory()
    return model
