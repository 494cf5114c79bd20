"""Native libraries are first used by several threads at once: it must neither freeze nor fail.

A thread that fills a static variable may let the interpreter's lock go, while another holds it and waits.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 240
THREADS_AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(4)
errors = []
def run(call):
    barrier.wait()
    try:
        call()
    except BaseException as error:
        errors.append(repr(error))
def at_once(call):
    threads = [threading.Thread(target=run, args=(call,)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not errors, errors
"""
FASTEST_MODEL = """
from pathlib import Path
import numpy as np
from tagger.model.artifact import file_digest, read_manifest
from tagger.model.backends.protocol import BackendOptions, Conversions
from tagger.model.devices import Device
from tagger.model.model import load_fastest_model
ARTIFACT, FOLDER, BACKEND = Path({artifact!r}), Path({folder!r}), {backend!r}
class Selections:
    find = staticmethod(lambda key: BACKEND)
    store = staticmethod(lambda key, choice: None)
manifest, digest = read_manifest(ARTIFACT), file_digest(ARTIFACT)
images = [np.zeros((manifest.input.size,) * 2 + (3,), np.uint8)]
def load():
    options = BackendOptions(None, 2)
    conversions = Conversions(ARTIFACT, digest, FOLDER)
    model = load_fastest_model(manifest, Device("cpu", "float32", 8), options, Selections, conversions)
    assert model.backend_name == BACKEND
    return model
"""
LOADED_IN_ONE_THREAD = "model = load()\nat_once(lambda: model.predict(images))"
LOADED_IN_EACH_THREAD = "at_once(lambda: load().predict(images))"
OWN_PROGRAM = """
import io
import pillow_heif, tagger
from PIL import Image
pillow_heif.register_heif_opener()
photos = []
for format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "HEIF"):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, format)
    photos.append(file.getvalue())
models = {}
at_once(lambda: models.update({threading.get_ident(): tagger.load_model(device="cpu")}))
at_once(lambda: [model.predict(photo) for model in models.values() for photo in photos])
"""
BUCKETS = """
from tagger.photos.paths import parse_path
from tagger.photos.source import open_source
from tagger.errors import TaggerError
def look():
    try:
        open_source(parse_path("s3://bucket/prefix")).mount()
    except TaggerError:
        pass
at_once(look)
"""


def ends(*program: str, **variables: str) -> None:
    """Run a program in a fresh process; fail if it does not end well within TIMEOUT_S."""
    result = subprocess.run(
        [sys.executable, "-c", "\n".join((THREADS_AT_ONCE, *program))],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


ARTIFACT = str(Path(__file__).parents[2] / "tagger" / "shipped" / "landmarks.pt")


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the shipped model as it was compiled by an earlier process."""
    folder = str(tmp_path_factory.mktemp("conversions"))
    for backend in ("openvino", "openvino-int8"):
        ends(FASTEST_MODEL.format(artifact=ARTIFACT, folder=folder, backend=backend), "load()")
    return folder


@pytest.mark.parametrize("use", [LOADED_IN_ONE_THREAD, LOADED_IN_EACH_THREAD])
@pytest.mark.parametrize("backend", ["openvino-int8", "openvino", "torchscript"])
@pytest.mark.parametrize("_run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in range(1, 5))])
def test_a_model_is_used_by_several_threads_from_its_first_pass(
    conversions: str, backend: str, use: str, _run: int
) -> None:
    ends(FASTEST_MODEL.format(artifact=ARTIFACT, folder=conversions, backend=backend), use)


@pytest.mark.parametrize("_run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in range(1, 5))])
def test_several_threads_of_a_program_load_and_use_models_at_once(tmp_path: Path, _run: int) -> None:
    ends(OWN_PROGRAM, TAGGER_DATA_FOLDER=str(tmp_path))


@pytest.mark.parametrize("_run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in range(1, 5))])
def test_several_threads_open_the_first_bucket_at_once(tmp_path: Path, _run: int) -> None:
    endpoint = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-west-1"}
    ends(
        BUCKETS,
        TAGGER_DATA_FOLDER=str(tmp_path),
        **endpoint,
        AWS_ACCESS_KEY_ID="a",
        AWS_SECRET_ACCESS_KEY="b",
    )
