"""Shares that refuse what local disks allow, imitated by a library that is loaded before the C library."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagger.metadata.photo_files import temporary_name

pytestmark = pytest.mark.slow


REFUSING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int refused(int file, const char *call) {
    const char *folder = getenv("REFUSING_FOLDER"), *code = getenv(call);
    char link[64], path[4096];
    if (!folder || !code) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) ? 0 : atoi(code);
}
#define REFUSE(call) int code = refused(file, "REFUSED_" #call); if (code) { errno = code; return -1; }
int fchmod(int file, mode_t mode) {
    REFUSE(fchmod)
    return ((int (*)(int, mode_t)) dlsym(RTLD_NEXT, "fchmod"))(file, mode);
}
int fchown(int file, uid_t user, gid_t group) {
    REFUSE(fchown)
    return ((int (*)(int, uid_t, gid_t)) dlsym(RTLD_NEXT, "fchown"))(file, user, group);
}
int flock(int file, int operation) {
    REFUSE(flock)
    return ((int (*)(int, int)) dlsym(RTLD_NEXT, "flock"))(file, operation);
}
"""
WRITE = """
import sys
from pathlib import Path
from tagger.metadata.replacement import read_for_writing
from tagger.metadata.replacement import prepare

photo, sidecar = map(Path, sys.argv[1:3])
data = sys.argv[3].encode() if sys.argv[3:] else None
prepare(read_for_writing(sidecar, max_bytes=1000), data, photo=photo).replace()
"""
SHARES = {
    "exfat": {"fchmod": "EPERM", "fchown": "EPERM"},
    "cifs": {"fchmod": "EPERM", "fchown": "EPERM", "flock": "EOPNOTSUPP"},
    "gvfs": {"fchmod": "ENOTSUP", "flock": "ENOSYS"},
    "nfs": {"flock": "ENOLCK"},
}


@pytest.fixture(scope="session")
def refusing_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and gcc, to imitate shares")
    library = tmp_path_factory.mktemp("library") / "refusing.so"
    source = library.with_suffix(".c")
    source.write_text(REFUSING)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


class Share:
    """A folder that refuses some calls, to the processes that are started here."""

    def __init__(self, library: Path, folder: Path, refused: dict[str, str]) -> None:
        codes = {f"REFUSED_{call}": str(getattr(errno, code)) for call, code in refused.items()}
        self.environment = {"LD_PRELOAD": str(library), "REFUSING_FOLDER": str(folder), **codes}
        self.photo = folder / "IMG_1.jpg"
        self.photo.write_bytes(b"photo")
        self.sidecar = folder / "IMG_1.jpg.xmp"

    def write(self, *data: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", WRITE, self.photo, self.sidecar, *data],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(params=list(SHARES))
def share(request: pytest.FixtureRequest, refusing_library: Path, tmp_path: Path) -> Share:
    return Share(refusing_library, tmp_path, SHARES[request.param])


def test_sidecars_are_created_changed_and_deleted_on_shares_without_permissions_or_locks(
    share: Share, tmp_path: Path
) -> None:
    for data in ("new", "changed"):
        assert share.write(data).stderr == ""
        assert share.sidecar.read_text() == data
    assert share.write().stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["IMG_1.jpg"]


def test_a_leftover_on_a_share_without_locks_counts_as_a_writer_until_it_is_old(
    refusing_library: Path, tmp_path: Path
) -> None:
    share = Share(refusing_library, tmp_path, SHARES["nfs"])
    leftover = tmp_path / temporary_name(share.sidecar.name)
    leftover.write_bytes(b"half")
    assert "another process" in share.write("new").stderr
    assert not share.sidecar.exists()
    hour_ago = time.time() - 3600
    os.utime(leftover, (hour_ago, hour_ago))
    assert share.write("new").stderr == ""
    assert (share.sidecar.read_text(), leftover.exists()) == ("new", False)
