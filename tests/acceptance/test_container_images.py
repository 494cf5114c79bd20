"""The image of deploy/Containerfile runs a job, unprivileged and on a read-only root.

It is built and run without a daemon: by buildah, on a base of Debian's packages, which needs root, mmdebstrap, and
15 GB of disk. A command runs as in a container: in its own mount and process namespaces, as the user of the
image, without capabilities. The network is that of the machine.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest
from rig.servers import PostgresServer, free_port
from support.command_line import run_program
from support.threads import wait_until

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
        return run_program(*command, env=environment, cwd=PROJECT, timeout=3600).stdout.strip()

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
        self._environment = {
            "PATH": os.environ["PATH"],
            "ROOT": str(image.root),
            "MOUNTS": " ".join(f"{folder}:{place}" for place, folder in places.items()),
            "ENVIRONMENT": " ".join(environment),
            "UID_": user,
            "GID_": group,
        }

    def run(self, *words: str, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        return run_program(*self._command(words), code=code, env=self._environment, timeout=600)

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

    def _command(self, words: Sequence[str]) -> list[str]:
        namespaces = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
        return [*namespaces, "sh", "-c", _RUN, "sh", *words]


def _bytes(size: str) -> int:
    number, unit = size.split()
    return int(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])


pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TOKEN = "a-token-of-the-page"
START_S = 300.0


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if os.geteuid():
        pytest.skip("images are built as root")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    with built_image("cpu") as built:
        yield built


@pytest.fixture
def container(image, redis_server, test_data, tmp_path) -> Iterator[Container]:
    port = free_port()
    with PostgresServer() as postgres:
        yield Container(
            image,
            tmp_path / "data",
            test_data / "originals",
            mounts={"run/postgres": postgres.folder},
            settings={
                "TAGGER_DATABASE_URL": "postgresql://postgres@/postgres?host=/run/postgres",
                "TAGGER_REDIS_URL": redis_server.url,
                "TAGGER_WEB_TOKEN": TOKEN,
                "TAGGER_WEB_URL": f"http://127.0.0.1:{port}",
            },
        )


def test_a_job_runs_in_the_image(image, container, tmp_path):
    container.run("tagger", "db", "upgrade")
    port = urlsplit(container.settings["TAGGER_WEB_URL"]).port or 0
    worker_words = [*image.config["Entrypoint"], *image.config["Cmd"]]
    page_words = ["tagger", "serve", "--port", str(port)]
    with _service(container, worker_words, tmp_path), _service(container, page_words, tmp_path):
        wait_until(
            lambda: container.run("tagger", "doctor", "--quick", "--worker", code=None).returncode == 0,
            *(START_S, 1.0),
        )
        container.run(*image.config["Healthcheck"]["Test"][1:])
        job = json.loads(container.run("tagger", "enqueue", "--wait", "--json", "/photos").stdout)
        assert job["tagged"] > 0
        assert job["failed"] == 0
        assert job["tagged"] + job["unknown"] == job["total"]
        photos = json.loads(container.run("tagger", "query", "--any-rank", "--json").stdout)
        assert len(photos) == job["total"]
        assert all(photo["tags"] for photo in photos)
        wait_until(lambda: _page(port, "/sign-in") is not None, START_S, 1.0)
        assert _page(port, "/static/app.css")
        assert json.loads(_page(port, "/api/status") or "{}")["waiting_photos"] == 0


def test_only_data_and_temporary_files_can_be_written(image, container):
    folders = ("/", "/opt/tagger", "/etc", "/photos", "/data", "/tmp")
    status = "id -u; grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status"
    script = f"for f; do touch $f/x 2> /dev/null && echo $f; done; {status}"
    lines = container.run("sh", "-c", script, "sh", *folders).stdout.strip().split("\n")
    assert lines[:3] == ["/data", "/tmp", str(image.user[0])]
    assert re.findall(r"\d+", " ".join(lines[3:])) == ["0" * 16, "0" * 16, "1"]
    assert image.user[0] > 0


def test_the_image_has_the_packages_of_the_lock_and_the_size_of_the_page(image):
    document = json.loads((image.root / "opt/tagger/sbom.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    versions = {each["name"].lower(): each["version"] for each in document["components"]}
    lock = (PROJECT / "requirements.lock").read_text()
    for name in ("celery", "openvino", "psycopg", "pillow", "lxml", "fastapi"):
        assert re.search(rf"^{name}=={re.escape(versions[name].partition('+')[0])} ", lock, re.MULTILINE), (
            name
        )
    page = (PROJECT / "docs" / "how-to" / "deploy.md").read_text()
    (size,) = re.findall(r"^\| `cpu`, `web` *\| ([\d.]+) GB", page, re.MULTILINE)
    assert image.size_bytes == pytest.approx(float(size) * 1e9, rel=0.03)


@contextmanager
def _service(container: Container, words: list[str], folder: Path) -> Iterator[None]:
    """A program that runs until SIGTERM, which it ends on with 0, as the first process of its container."""
    log = folder / f"{words[1]}.log"
    process = container.start(words, log)
    try:
        yield
        (first,) = psutil.Process(process.pid).children()
        first.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, log.read_text()
    except BaseException as error:
        error.add_note(log.read_text())
        raise
    finally:
        process.kill()
        process.wait()


def _page(port: int, path: str) -> str | None:
    """The answer of the page; None if it does not answer."""
    request = Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())
    except URLError:
        return None
