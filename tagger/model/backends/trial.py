"""The program in which a backend makes its first pass on this machine (see crashes): artifact, digest, backend, device and precision."""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from tagger.model.artifact import load_module, read_manifest
from tagger.model.backends.crashes import TIMEOUT_S
from tagger.model.backends.protocol import Conversions
from tagger.model.backends.selection import BackendSelector
from tagger.model.devices import Device, Precision


def main() -> None:
    """Run the backend once."""
    signal.alarm(int(TIMEOUT_S) + 5)  # where it hangs, and the process that would end it was killed
    artifact, digest, name, kind, precision = sys.argv[1:]
    path, device = Path(artifact), Device(kind, cast("Precision", precision), 1)
    manifest = read_manifest(path)
    size, conversions = manifest.input.size, Conversions(path, digest, None)
    load = partial(load_module, path, digest)
    backend = BackendSelector(load, device, size, 1, manifest.ranges, conversions).load(name)
    backend.forward(np.zeros((1, size, size, 3), np.uint8))


if __name__ == "__main__":
    main()
