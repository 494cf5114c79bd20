"""deploy/systemd: units that systemd accepts, and that expose little."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from support.command_words import check_command
from support.webhook_receiver import SECRET

from tagger.settings import Event, Settings, load_settings

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = ("tagger-worker", "tagger-worker-gpu@0", "tagger-beat", "tagger-web", "tagger-upgrade")
SANDBOX = UNITS / "tagger-.service.d" / "10-sandbox.conf"
MOST_EXPOSED = 2.0
"""Of systemd's scale from 0 to 10; a unit without a sandbox has 9.2."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine with the units and the program, for systemd-analyze."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    root = tmp_path / "machine"
    shutil.copytree(UNITS, root / "etc/systemd/system")
    program = root / "opt/tagger/bin/tagger"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    return root


@pytest.mark.slow
def test_systemd_accepts_the_units(machine: Path) -> None:
    done = _analyze("verify", machine, *(f"{name}.service" for name in NAMES), "tagger.target")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_units_expose_little_and_only_a_worker_with_a_gpu_sees_devices(machine: Path, name: str) -> None:
    done = _analyze("security", machine, "--offline=yes", f"{name}.service")
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) < MOST_EXPOSED
    sees_devices = "potentially has access to hardware devices" in done.stdout
    assert sees_devices == ("gpu" in name)


def test_the_sandbox_sets_nothing_that_a_unit_sets_otherwise() -> None:
    """systemd reads it after the units, so its lines would count."""
    shared = _names_in(SANDBOX)
    for unit in UNITS.glob("*.service"):
        # Each line of Environment adds to the others.
        assert not (_names_in(unit) & shared) - {"Environment"}, unit.name
    assert SANDBOX.name < "override.conf"  # which `systemctl edit` writes: it counts more


def test_the_upgrade_uses_the_address_of_the_role_that_owns_the_schema() -> None:
    text = (UNITS / "tagger-upgrade.service").read_text()
    files = re.findall(r"^EnvironmentFile=(.+)$", text, re.MULTILINE)
    assert files == ["/etc/tagger.env", "-/etc/tagger-owner.env"]  # the last one counts


def test_settings_of_the_units_exist() -> None:
    texts = [path.read_text() for path in UNITS.rglob("*") if path.is_file()]
    names = {name for text in texts for name in re.findall(r"\bTAGGER_(\w+)=", text)}
    assert {"DATABASE_URL", "REDIS_URL", "DATA_FOLDER"} <= names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_examples_of_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (UNITS / "tagger.env").read_text().replace("whsec_BASE64", SECRET)
    for name, value in re.findall(r"^#?(TAGGER_\w+)=(.+)$", text, re.MULTILINE):
        monkeypatch.setenv(name, shlex.split(value)[0])
    settings = load_settings()
    assert settings.roots == {"Pictures": Path("/mnt/nas/pictures")}
    assert settings.webhooks["chat"].events == {Event.JOB_FAILURES}


def test_commands_of_the_units_exist() -> None:
    texts = [path.read_text() for path in UNITS.glob("*.service")]
    commands = [
        found[1] for text in texts if (found := re.search(r"^ExecStart=/\S+/tagger (.*)", text, re.MULTILINE))
    ]
    assert len(commands) == len(NAMES)
    for command in commands:
        check_command(command.split())


def _analyze(verb: str, root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", verb, f"--root={root}", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _names_in(file: Path) -> set[str]:
    """The names of the settings of a unit's service, or of a drop-in's."""
    _, _, service = file.read_text().partition("[Service]\n")
    return set(re.findall(r"^(\w+)=", service.partition("\n[")[0], re.MULTILINE))
