"""Selects the backend that is fastest for a model on this machine, of those that agree with the reference.

TorchScript is the reference; of the shipped model, and without torch, OpenVINO in floating point is. Nothing
is timed to choose a backend: on every processor that was measured, eight bits are 1.1 to 3 times as fast as
floating point, and OpenVINO is at least as fast as TorchScript. So the instruction sets decide what is tried
first, the outputs whether it is used, and each selection on a machine has the same result.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, cast

import numpy as np
from blake3 import blake3
from PIL import Image, ImageDraw

from tagger.errors import PermissionsUnsafe, SettingsInvalid, TaggerError
from tagger.extensions import BACKENDS, extensions, extra_missing, is_installed
from tagger.model.artifact import Range, Trunk, load_module, read_manifest
from tagger.model.backends import (
    EIGHT_BITS,
    OPENVINO,
    Backend,
    BackendName,
    Conversions,
    Embeddings,
    Images,
    Outputs,
    Scores,
    is_passing,
)
from tagger.model.devices import Device, instruction_sets
from tagger.photos.files import new_file, open_regular
from tagger.processes.permissions import (
    create_private_file,
    make_private_folder,
    require_safe,
)

if TYPE_CHECKING:
    import openvino
    import torch

    from tagger.model.backends.openvino import OpenVinoBackend


log = logging.getLogger(__name__)

# 1 minus the mean cosine. Of the shipped model, eight bits are at 0.013 to 0.015, mirrored ones at
# 0.040, ranges that are four times too wide at 0.054, weights that overflow at 0.086.
MAX_EMBEDDING_DIFFERENCE = 0.0242
# Mean logarithm of the factor between the best scores. Eight bits are at 0.37 to 0.46, a third of
# each score is at 1.1, labels in another order at 5.
MAX_SCORE_DIFFERENCE = 0.71
# How many of the reference's scores of an image are compared, and the score that smaller ones count
# as.
BEST, LEAST_SCORE = 5, 1e-6
IMAGES, DISCS, LEAST_RADIUS, LARGEST_RADIUS = 16, 400, 0.02, 0.6


class Difference(NamedTuple):
    """How far outputs of two backends are apart; infinite for wrong shapes and values that are not finite."""

    embeddings: float
    scores: float

    @classmethod
    def between(cls, expected: Outputs, actual: Outputs) -> Self:
        scores = _score_difference(expected.scores, actual.scores)
        if expected.things is not None and actual.things is not None:
            scores = max(scores, _score_difference(expected.things, actual.things))
        return cls(
            _embedding_difference(expected.embeddings, actual.embeddings), scores
        )

    @property
    def is_small(self) -> bool:
        return (
            self.embeddings <= MAX_EMBEDDING_DIFFERENCE
            and self.scores <= MAX_SCORE_DIFFERENCE
        )


class BackendSelector:
    """Loads and compares the backends of a model on a device. `load_module` returns a new module each time.

    `ranges` are those of the manifest: without any, there are no eight bits.
    """

    def __init__(
        self,
        load_module: Callable[[], torch.jit.ScriptModule],
        device: Device,
        size: int,
        at_once: int,
        ranges: Sequence[Range],
        conversions: Conversions,
    ) -> None:
        self._load_module = load_module
        self._device = device
        self._size = size
        self._at_once = at_once
        self._ranges = ranges
        self._conversions = conversions

    def choose(self, name: BackendName | None) -> tuple[Backend, bool]:
        """Return the backend `name`, or the fastest that agrees with the reference.

        Also whether that is final: if it is not, what failed may succeed the next time.

        Raises:
            SettingsInvalid, ExtraMissing: as `load`.
        """
        reference = self._load_reference(name)
        images = generated_images(self._size, IMAGES)
        try:
            expected = reference.forward(images)
        except Exception as error:  # noqa: BLE001 - photos may still pass where the generated images fail
            log.warning("the model fails on the generated images: %s", error)
            return reference, False
        is_final = True
        for other in self._alternatives() if name is None else []:
            if other == reference.name:
                break
            try:
                backend = self.load(other)
                difference = Difference.between(expected, backend.forward(images))
            except Exception as error:  # noqa: BLE001 - whatever fails in another engine, the reference works
                is_final = is_final and not is_passing(error)
                until = (
                    " now, and is tried again at the next start"
                    if is_passing(error)
                    else ""
                )
                log.warning(
                    "%s cannot run this model%s; a slower backend runs it", other, until
                )
                log.info("%s: %s", other, error.__cause__ or error)
                continue
            log.info(
                "%s differs from %s by %.3f in embeddings and %.2f in scores",
                other,
                reference.name,
                *difference,
            )
            if difference.is_small:
                return backend, is_final
        return reference, is_final

    def _load_reference(self, name: BackendName | None) -> Backend:
        # The shipped model was converted before: comparing it with TorchScript would take time.
        if name is None and self._device.kind == "cpu" and is_installed("openvino"):
            with suppress(
                Exception
            ):  # whatever fails in another engine, TorchScript works
                from tagger.model.backends.openvino import has_shipped_graph

                if has_shipped_graph(self._conversions.digest):
                    return self.load("openvino")
        return self.load(name or reference_name())

    def load(self, name: BackendName) -> Backend:
        """Load the model into the backend `name`.

        Raises:
            SettingsInvalid: its engine does not support the device, or cannot run this model.
            ExtraMissing: the engine, or the model's conversion to it, needs torch, which is not installed.
            Unavailable: the system lets no engine compile models.
        """
        self._device.require_machine_code()
        if name == "torchscript":
            if not is_installed("torch"):
                raise extra_missing("The backend torchscript", "torch")
            from tagger.model.backends.torchscript import TorchScriptBackend

            return TorchScriptBackend(self._load_module(), self._device, self._at_once)
        if name in OPENVINO:
            return self._load_openvino(name)
        # Load the model into the backend of an installed package.
        factory = extensions(BACKENDS).get(name)
        if factory is None:
            raise SettingsInvalid(reason=f"backend: no installed package adds {name}")
        try:
            backend: Backend = factory(
                self._load_module(),
                self._device,
                self._size,
                self._at_once,
            )
        except Exception as error:
            raise SettingsInvalid(
                reason=f"backend: {name} cannot run this model: {error}"
            ) from error
        return backend

    def _load_openvino(self, name: BackendName) -> Backend:
        if not is_installed("openvino"):
            raise SettingsInvalid(
                reason=f"backend: {name} has no package for this machine; set torchscript"
            )
        if self._device.kind != "cpu":
            raise SettingsInvalid(
                reason=f"backend: {name} runs on a CPU; set TAGGER_DEVICE=cpu too"
            )
        if name == EIGHT_BITS and not self._ranges:
            raise SettingsInvalid(
                reason=f"backend: this model has no ranges for {name}; set openvino"
            )
        try:
            from tagger.model.backends.openvino import OpenVinoBackend

            arguments = name, self._device, self._at_once
            file = self._conversions.compiled(name, self._device)
            compiled = None if file is None else read_compiled(file)
            if compiled is not None:
                try:
                    return OpenVinoBackend(compiled, *arguments)
                except Exception as error:  # noqa: BLE001 - OpenVINO's exceptions have no common base class
                    log.warning(
                        "the compiled model in %s is made anew: %s", file, error
                    )
            return OpenVinoBackend(
                self._network(is_in_eight_bits=name == EIGHT_BITS), *arguments
            )
        except TaggerError:
            raise
        except Exception as error:  # OpenVINO's exceptions have no common base class
            until = f" now ({error})" if is_passing(error) else ""
            raise SettingsInvalid(
                reason=f"backend: {name} cannot run this model{until}; leave it at auto, or set torchscript"
            ) from error

    def _network(self, *, is_in_eight_bits: bool) -> openvino.Model:
        from tagger.model.backends.openvino import (
            convert,
            join,
            prepare,
            read_shipped_graph,
        )

        artifact, digest, _, things = self._conversions
        graph = read_shipped_graph(artifact, digest)
        if graph is None:
            if not is_installed("torch"):
                raise extra_missing("This model", "torch")
            graph = convert(self._load_module(), self._size)
        ranges = self._ranges if is_in_eight_bits else ()
        network = prepare(graph, self._device, ranges)
        if things is None:
            return network
        manifest = read_manifest(things.artifact)
        ranges = manifest.ranges if is_in_eight_bits else ()
        graph_of_things = read_shipped_graph(things.artifact, things.digest) or convert(
            load_module(things.artifact, things.digest), self._size
        )
        network_of_things = prepare(graph_of_things, self._device, ranges)
        return join(
            network, network_of_things, cast("Trunk", manifest.trunk).convolutions
        )

    def keep(self, backend: Backend) -> None:
        """Store what OpenVINO compiled for the backend, unless an earlier start has done that."""
        file = self._conversions.compiled(backend.name, self._device)
        if file is not None and getattr(backend, "is_new", False):
            store_compiled(cast("OpenVinoBackend", backend).to_bytes(), file)

    def _alternatives(self) -> list[BackendName]:
        # Those faster than the reference, fastest first. Without AVX2, eight bits were never measured.
        if self._device.kind != "cpu" or not is_installed("openvino"):
            return []
        return (
            [EIGHT_BITS, "openvino"]
            if self._ranges and "avx2" in instruction_sets()
            else ["openvino"]
        )


def reference_name() -> BackendName:
    """The backend that others are compared with, and that runs where they cannot."""
    return "torchscript" if is_installed("torch") else "openvino"


def generated_images(size: int, count: int) -> Images:
    """Images of discs, uint8 (count, size, size, 3), the same at each call, with the statistics of photos."""
    rng = np.random.default_rng(20)
    images = []
    for _ in range(count):
        image = Image.new("RGB", (size, size))
        draw = ImageDraw.Draw(image)
        sizes = np.minimum(LEAST_RADIUS / (1 - rng.random(DISCS)), LARGEST_RADIUS)
        radii = (size * sizes).tolist()
        centres = rng.uniform(0, size, (DISCS, 2)).tolist()
        colours = rng.integers(0, 256, (DISCS, 3)).tolist()
        for radius, centre, colour in zip(radii, centres, colours, strict=True):
            draw.circle(centre, radius, fill=tuple(colour))
        images.append(np.asarray(image))
    return np.stack(images)


def _embedding_difference(
    expected: Embeddings | None, actual: Embeddings | None
) -> float:
    if expected is None or actual is None:
        return 0.0 if expected is actual else math.inf
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return math.inf
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    cosines = np.divide(
        (expected * actual).sum(axis=1),
        norms,
        out=np.ones_like(norms),
        where=norms > 0,
    )
    return float(1 - cosines.mean())


def _score_difference(expected: Scores, actual: Scores) -> float:
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return math.inf
    best = np.argsort(expected, axis=1)[:, -BEST:]
    factors = np.maximum(actual, LEAST_SCORE) / np.maximum(expected, LEAST_SCORE)
    return float(np.abs(np.log(np.take_along_axis(factors, best, axis=1))).mean())


# Networks as OpenVINO compiled them on this machine, one per file, so that later starts need not.
#
# A file begins with the BLAKE3 digest of its rest: a wrong bit in it would change tags silently.

DIGEST_BYTES = 32


def read_compiled(file: Path) -> bytes | None:
    """The network in a file, if it is undamaged and no other user can change it; otherwise None."""
    try:
        for path in (file.parent, file):
            require_safe(path)
        with open_regular(file) as opened:
            data = opened.read()
        network = data[DIGEST_BYTES:]
        if blake3(network).digest() == data[:DIGEST_BYTES]:
            return network
        problem = "it is damaged"
    except FileNotFoundError:
        return None
    except (OSError, PermissionsUnsafe) as error:
        problem = str(error)
    log.warning("the compiled model in %s is made anew: %s", file, problem)
    return None


def store_compiled(network: bytes, file: Path) -> None:
    """Write a network to a file, whole or not at all, and remove those of other versions of OpenVINO.

    A warning says why it could not be written.
    """
    try:
        make_private_folder(file.parent)
        for other in file.parent.glob("*-*"):
            if _version(other) != _version(file):
                other.unlink(missing_ok=True)
        with new_file(file) as partial:
            create_private_file(partial)
            partial.write_bytes(blake3(network).digest() + network)
    except OSError as error:
        log.warning(
            "the compiled model is not kept, so each start takes longer: %s", error
        )


def _version(file: Path) -> str:
    # That of OpenVINO, with which the name ends.
    return file.name.partition("-")[2]
