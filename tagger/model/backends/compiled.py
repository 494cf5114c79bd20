"""Networks as OpenVINO compiled them on this machine, one per file, so that later starts neither convert nor compile.

A file begins with the BLAKE3 digest of its rest: one wrong bit in it would change the tags of photos, silently. Knows nothing of networks.
"""

import fcntl
import logging
import shutil
from pathlib import Path

from blake3 import blake3

from tagger.errors import PermissionsUnsafe
from tagger.photos.files import open_at_once, open_regular
from tagger.photos.folders import new_file
from tagger.system.permissions import create_private_file, make_private_folder, require_safe

log = logging.getLogger(__name__)

LOCK = "lock"
"""The file that a process locks while it stores a network. The system unlocks it if the process is killed."""
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
    """Write a network to a file, whole or not at all. Removes what other versions of OpenVINO and killed processes left.

    A warning says why it could not be written.
    """
    folder = file.parent
    try:
        make_private_folder(folder)
        create_private_file(folder / LOCK)
        with open(folder / LOCK, "w", opener=open_at_once) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for other in folder.iterdir():
                if other.name != LOCK and _version(other) != _version(file):
                    shutil.rmtree(other) if other.is_dir() else other.unlink()
            with new_file(file) as partial:
                create_private_file(partial)
                partial.write_bytes(blake3(network).digest() + network)
    except BlockingIOError:
        log.info("another process stores a compiled model")
    except OSError as error:
        log.warning("the compiled model is not kept, so each start takes longer: %s", error)


def _version(file: Path) -> str:
    """That of OpenVINO, with which the name ends."""
    return file.name.partition("-")[2]
