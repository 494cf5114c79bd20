"""OpenVINO in place of TorchScript: the same scores, nothing said to anybody, and no harm where it is not installed."""

import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Terminal, draw
from shipped import ARTIFACT, decoded_photos, shipped_module, shipped_size
from small_network import LABELS, SIZE, small_module
from threads import in_threads

from tagger.devices import Device
from tagger.errors import SettingsInvalid
from tagger.metrics import staged
from tagger.profiling import Profiler
from tagger.runners import Runner
from tagger.runners.choosing import SAME_WITHIN, Choosing, pictures
from tagger.runners.openvino import OpenVinoRunner
from tagger.runners.torchscript import TorchScriptRunner

FLOAT32 = Device("cpu", torch.float32, 8)
SAME = 1e-4


@pytest.fixture(scope="module")
def runner() -> Runner:
    return OpenVinoRunner(small_module(), FLOAT32, SIZE, at_once=3)


@pytest.fixture(scope="module")
def truth() -> Runner:
    return TorchScriptRunner(small_module(), FLOAT32, SIZE, at_once=3)


def test_pictures_get_the_scores_that_torchscript_gives_them(runner: Runner, truth: Runner) -> None:
    images = pictures(SIZE, 64)
    scores = runner.forward(images)
    assert (scores.dtype, scores.shape) == (np.float32, (64, LABELS))
    assert len(set(scores.argmax(axis=1))) > 1  # else it would prove little
    np.testing.assert_allclose(scores, truth.forward(images), rtol=0, atol=SAME)


def test_real_photos_get_the_scores_that_torchscript_gives_them(test_data: Path) -> None:
    photos = decoded_photos(test_data, 24)
    size = shipped_size()
    expected = TorchScriptRunner(shipped_module(), FLOAT32, size, at_once=1).forward(photos)
    scores = OpenVinoRunner(shipped_module(), FLOAT32, size, at_once=1).forward(photos)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=SAME)


def test_in_bfloat16_it_is_as_near_as_the_self_test_asks() -> None:
    device = Device("cpu", torch.bfloat16, 8)
    images = pictures(SIZE, 8)
    scores = OpenVinoRunner(small_module(), device, SIZE, at_once=1).forward(images)
    expected = TorchScriptRunner(small_module(), device, SIZE, at_once=1).forward(images)
    assert np.abs(scores - expected).sum(axis=1).mean() / 2 <= SAME_WITHIN


def test_batches_may_have_any_size_in_any_order(runner: Runner, truth: Runner) -> None:
    images = pictures(SIZE, 9)
    expected = truth.forward(images)
    counts = [*range(1, 10)] * 3
    random.Random(5).shuffle(counts)
    for count in counts:
        np.testing.assert_allclose(runner.forward(images[-count:]), expected[-count:], rtol=0, atol=SAME)


def test_scores_stay_when_the_next_batch_is_looked_at(runner: Runner) -> None:
    first = runner.forward(pictures(SIZE, 4))
    kept = first.copy()
    runner.forward(255 - pictures(SIZE, 4))
    np.testing.assert_array_equal(first, kept)


def test_a_batch_that_is_filled_in_place_is_what_is_looked_at(runner: Runner) -> None:
    images = pictures(SIZE, 3)
    batch = runner.empty(3)
    assert (batch.shape, batch.dtype) == ((3, SIZE, SIZE, 3), np.uint8)
    np.copyto(batch, images)
    first = runner.forward(batch)
    np.testing.assert_array_equal(first, runner.forward(images))
    np.copyto(batch, 255 - images)  # the memory is shared with the engine for the time of the pass only
    np.testing.assert_array_equal(first, runner.forward(images))


def test_several_threads_get_each_its_own_scores(runner: Runner, truth: Runner) -> None:
    images = pictures(SIZE, 40)
    expected = truth.forward(images)

    def look(number: int) -> None:
        drawn = random.Random(number)
        for _ in range(40):
            first = drawn.randrange(0, 35)
            last = first + drawn.randint(1, 5)
            scores = runner.forward(images[first:last])
            np.testing.assert_allclose(scores, expected[first:last], rtol=0, atol=SAME)

    in_threads([partial(look, number) for number in range(6)])  # more than passes at once: the others wait


def test_a_pass_that_fails_leaves_the_runner_able_to_go_on(runner: Runner, truth: Runner) -> None:
    for _ in range(4):  # more often than there are passes at once
        with pytest.raises(RuntimeError):
            runner.forward(np.zeros((1, SIZE + 1, SIZE, 3), dtype=np.uint8))
    images = pictures(SIZE, 2)
    np.testing.assert_allclose(runner.forward(images), truth.forward(images), rtol=0, atol=SAME)


def test_what_its_threads_use_is_shown_as_the_models_time(runner: Runner) -> None:
    profiler = Profiler()
    with staged("model"):
        for _ in range(20):
            runner.forward(pictures(SIZE, 64))
    profile = profiler.profile()
    assert 0 < profile.stages["model"] <= profile.total_s
    assert profile.stages["decode"] == 0


WATCHED = """
import json, os, resource, sys
from pathlib import Path

told = []
WATCHED = ("os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "subprocess.Popen", "socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: told.append(event) if event in WATCHED else None)

import torch
from tagger.artifact import file_digest, load_module
from tagger.devices import Device
from tagger.runners.choosing import pictures
from tagger.runners.openvino import OpenVinoRunner

path = Path(sys.argv[1])
size = int(sys.argv[2])
module = load_module(path, file_digest(path))
scores = OpenVinoRunner(module, Device("cpu", torch.float32, 8), size, 2).forward(pictures(size, 2))
print(json.dumps({
    "scores": scores.shape[0],
    "told": told,
    "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    "telemetry": [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module],
}))
"""


def test_it_tells_nobody_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    without = {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "PYTHONPATH"}
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            WATCHED,
            str(ARTIFACT),
            str(shipped_size()),
        ],
        cwd=tmp_path,
        env=inherited | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen == {"scores": 2, "told": [], "children": 0, "telemetry": []}
    assert [*home.rglob("*")] == []


def test_asked_for_where_it_is_not_installed_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    choosing = Choosing(small_module, FLOAT32, SIZE, at_once=1)
    with pytest.raises(SettingsInvalid, match=r"install landmark-tagger\[openvino\]"):
        choosing.choose("openvino", None)
    assert choosing.choose(None, 4).runner.name == "torchscript"


@pytest.fixture
def without_openvino(tmp_path: Path) -> Terminal:
    """The terminal of somebody who has not installed the extra."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys\nsys.modules['openvino'] = None\n")
    terminal = Terminal(tmp_path / "terminal", {"PYTHONPATH": str(blocked)})
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    return terminal


def test_without_it_photos_are_tagged_by_torchscript(without_openvino: Terminal) -> None:
    done = without_openvino.run("tag", "photos")
    assert "tower.jpg: Eiffel Tower" in done.stdout
    (plan,) = json.loads((without_openvino.data / "self-tests.json").read_text()).values()
    assert plan["runner"] == "torchscript"
    without_openvino.environment["TAGGER_RUNNER"] = "openvino"
    refused = without_openvino.run("tag", "photos", "--again", code=1)
    assert refused.stdout == ""
    (line,) = refused.stderr.strip().splitlines()
    assert "openvino is an extra; install landmark-tagger[openvino]" in line


def test_a_runner_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, {"TAGGER_RUNNER": "nonsense"})
    (line,) = terminal.run("tag", ".", code=1).stderr.strip().splitlines()
    assert "'nonsense': should be 'auto', 'torchscript' or 'openvino'" in line
