"""The image of deploy/Containerfile runs a job, unprivileged and on a read-only root."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest
from rig.servers import PostgresServer, RedisServer, free_port
from support.container_images import PROJECT, Container, Image, built_image, missing_program
from support.threads import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TOKEN = "a-token-of-the-page"
START_S = 300.0


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if (reason := missing_program()) is not None:
        pytest.skip(reason)
    with built_image("cpu") as built:
        yield built


@pytest.fixture
def container(
    image: Image,
    redis_server: RedisServer,
    test_data: Path,
    tmp_path: Path,
) -> Iterator[Container]:
    """The image with PostgreSQL, Redis, and photos."""
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


def test_a_job_runs_in_the_image(image: Image, container: Container, tmp_path: Path) -> None:
    _done(container.run("tagger", "db", "upgrade"))
    port = urlsplit(container.settings["TAGGER_WEB_URL"]).port or 0
    worker_words = [*image.config["Entrypoint"], *image.config["Cmd"]]
    page_words = ["tagger", "serve", "--port", str(port)]
    with _service(container, worker_words, tmp_path), _service(container, page_words, tmp_path):
        wait_until(
            lambda: container.run("tagger", "doctor", "--quick", "--worker").returncode == 0, START_S, 1.0
        )
        _done(container.run(*image.config["Healthcheck"]["Test"][1:]))
        job = json.loads(_done(container.run("tagger", "enqueue", "--wait", "--json", "/photos")))
        assert job["tagged"] > 0
        assert job["failed"] == 0
        assert job["tagged"] + job["unknown"] == job["total"]
        photos = json.loads(_done(container.run("tagger", "query", "--any-rank", "--json")))
        assert len(photos) == job["total"]
        assert all(photo["tags"] for photo in photos)
        wait_until(lambda: _page(port, "/sign-in") is not None, START_S, 1.0)
        assert _page(port, "/static/app.css")
        assert json.loads(_page(port, "/api/status") or "{}")["waiting_photos"] == 0


def test_only_data_and_temporary_files_can_be_written(image: Image, container: Container) -> None:
    folders = ("/", "/opt/tagger", "/etc", "/photos", "/data", "/tmp")
    status = "id -u; grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status"
    script = f"for f; do touch $f/x 2> /dev/null && echo $f; done; {status}"
    lines = _done(container.run("sh", "-c", script, "sh", *folders)).split("\n")
    assert lines[:3] == ["/data", "/tmp", str(image.user[0])]
    assert re.findall(r"\d+", " ".join(lines[3:])) == ["0" * 16, "0" * 16, "1"]
    assert image.user[0] > 0


def test_the_bill_of_materials_lists_the_packages_of_the_lock(image: Image) -> None:
    document = json.loads((image.root / "opt/tagger/sbom.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    versions = {each["name"].lower(): each["version"] for each in document["components"]}
    lock = (PROJECT / "requirements.lock").read_text()
    for name in ("celery", "openvino", "psycopg", "pillow", "lxml", "fastapi"):
        assert re.search(rf"^{name}=={re.escape(versions[name].partition('+')[0])} ", lock, re.MULTILINE), (
            name
        )


def test_the_image_has_the_size_that_the_page_says(image: Image) -> None:
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


def _done(process: "subprocess.CompletedProcess[str]") -> str:
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout.strip()
