"""Images of deploy/Containerfile, built and run without a daemon: by buildah, on a base of Debian's packages.

Needs root, buildah, mmdebstrap, and 15 GB of disk. A command runs as in a container with a read-only root: in
its own mount and process namespaces, as the user of the image, without capabilities. The network is that of
the machine.
"""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
DISK = Path("/var/tmp")
PROGRAMS = ("buildah", "mmdebstrap", "unshare", "setpriv")
BASE = "localhost/tagger-base"
BASE_PACKAGES = "ca-certificates,python3,python3-venv"

_RUN = """
set -ef
mount --rbind "$ROOT" "$ROOT"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount --bind /etc/hosts "$ROOT/etc/hosts"
for mount in $MOUNTS; do mount --bind "${mount%%:*}" "$ROOT/${mount#*:}"; done
mount -o remount,bind,ro "$ROOT/photos"
mount -o remount,bind,ro "$ROOT"
exec chroot "$ROOT" /usr/bin/env --chdir=/data -i $ENVIRONMENT \\
    setpriv --reuid="$UID_" --regid="$GID_" --clear-groups \\
    --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def missing_program() -> str | None:
    """What keeps images from being built here; None if nothing does."""
    if os.geteuid():
        return "images are built as root"
    return next((f"{name} is not installed" for name in PROGRAMS if shutil.which(name) is None), None)


@dataclass(frozen=True)
class Image:
    """A built image: its configuration, and its files in a folder that is mounted."""

    config: Mapping[str, Any]
    root: Path
    size_bytes: int

    @property
    def user(self) -> tuple[int, int]:
        user, group = self.config["User"].split(":")
        return int(user), int(group)


@contextmanager
def built_image(target: str) -> Iterator[Image]:
    """Build the target with its base, and mount it. All files of buildah are removed at the end: others may
    have their temporary files in memory, which an image would fill.
    """
    folder = Path(tempfile.mkdtemp(prefix="tagger-image-", dir=DISK))
    environment = {**os.environ, "TMPDIR": str(folder)}

    def buildah(*words: str | Path) -> str:
        command = ["buildah", "--root", folder / "storage", "--runroot", folder / "run", *words]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=PROJECT
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    try:
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        archive = folder / "base.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={BASE_PACKAGES}", suite, archive]
        subprocess.run(command, env=environment, check=True)
        base = buildah("from", "scratch")
        buildah("add", "--quiet", base, archive, "/")
        buildah("commit", "--quiet", base, BASE)
        # A proxy of this network may have its own authority.
        certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"
        options = ("--isolation", "chroot", "--format", "docker", "--volume", certificates)
        buildah(
            *("build", *options, "--build-arg", f"BASE={BASE}", "-f", "deploy/Containerfile"),
            *("--target", target, "-t", target, "."),
        )
        description = json.loads(buildah("inspect", "--type", "image", target))
        size = json.loads(buildah("images", "--json", target))[0]["size"]
        root = Path(buildah("mount", buildah("from", target)))
        yield Image(description["Docker"]["config"], root, _bytes(size))
    finally:
        buildah("umount", "--all")
        buildah("rm", "--all")
        buildah("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


class Container:
    """Commands in an image, with the same data, photos and settings. `mounts`: further folders."""

    def __init__(
        self,
        image: Image,
        data: Path,
        photos: Path,
        *,
        mounts: Mapping[str, Path],
        settings: Mapping[str, str],
    ) -> None:
        self.settings = settings
        data.mkdir()
        os.chown(data, *image.user)
        data.chmod(0o700)
        places = {"data": data, "photos": photos, **mounts}
        for place in places:
            (image.root / place).mkdir(parents=True, exist_ok=True)
        (image.root / "etc/hosts").touch()
        user, group = map(str, image.user)
        environment = [*image.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        assert not any(" " in entry for entry in environment)
        self._variables = {
            "ROOT": str(image.root),
            "MOUNTS": " ".join(f"{folder}:{place}" for place, folder in places.items()),
            "ENVIRONMENT": " ".join(environment),
            "UID_": user,
            "GID_": group,
        }

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a program of the image."""
        return subprocess.run(
            self._command(words),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def start(self, words: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a program of the image; its output goes to `log`."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self._command(words),
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], **self._variables}

    def _command(self, words: Sequence[str]) -> list[str]:
        namespaces = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
        return [*namespaces, "sh", "-c", _RUN, "sh", *words]


def _bytes(size: str) -> int:
    """The number of a size like "5.58 GB"."""
    number, unit = size.split()
    return int(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])
