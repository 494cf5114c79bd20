"""Networks as OpenVINO compiled them on this machine, one per file, so that later starts need not.

A file begins with the BLAKE3 digest of its rest: a wrong bit in it would change tags silently.
"""

import logging
from pathlib import Path

from blake3 import blake3

from tagger.errors import PermissionsUnsafe
from tagger.photos.files import new_file, open_regular
from tagger.processes.permissions import create_private_file, make_private_folder, require_safe

log = logging.getLogger(__name__)

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
        log.warning("the compiled model is not kept, so each start takes longer: %s", error)


def _version(file: Path) -> str:
    """That of OpenVINO, with which the name ends."""
    return file.name.partition("-")[2]
