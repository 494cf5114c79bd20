"""deploy/compose.yaml, Containerfile and systemd: valid, hardened, with settings that exist."""

import json
import re
import shlex
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for
from support.command_words import check_command

from tagger.settings import Settings, load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = ("upgrade", "worker", "worker-gpu", "beat", "web")
"""The services that run images of deploy/Containerfile."""
UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = ("tagger-worker", "tagger-worker-gpu@0", "tagger-beat", "tagger-web", "tagger-upgrade")
SANDBOX = UNITS / "tagger-.service.d" / "10-sandbox.conf"
MOST_EXPOSED = 2.0
"""Of systemd's scale from 0 to 10; a unit without a sandbox has 9.2."""


def test_compose_file_matches_the_schema_of_compose() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    errors = [
        f"{error.json_path}: {error.message}" for error in validator_for(schema)(schema).iter_errors(COMPOSE)
    ]
    assert errors == []


@pytest.mark.parametrize("name", OWN)
def test_own_services_are_hardened_and_read_photos_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":-([1-9]\d*):([1-9]\d*)\}$", service["user"]), "not root"
    assert service["pids_limit"]
    assert "private" in service["networks"]
    assert not service.get("privileged")
    assert name == "upgrade" or service["deploy"]["resources"]["limits"]["memory"]
    mounts = [volume for volume in service.get("volumes", ()) if isinstance(volume, dict)]
    assert all(mount["read_only"] for mount in mounts)


def test_servers_are_reached_by_nobody_else() -> None:
    assert COMPOSE["networks"]["private"]["internal"] is True
    for name in ("postgres", "redis", "hide"):
        assert SERVICES[name]["networks"] == ["private"]
        assert "ports" not in SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["web"]["ports"])


def test_variables_that_must_be_set_are_in_the_example() -> None:
    example = (DEPLOY / "example.env").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert required == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    optional = set(re.findall(r"\$\{(\w+):-", TEXT))
    assert optional == set(re.findall(r"^#(\w+)=", example, re.MULTILINE))


def test_settings_exist_and_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DB_OWNER_PASSWORD": "d" * 20,
        "DB_PASSWORD": "a" * 20,
        "REDIS_PASSWORD": "b" * 20,
        "WEB_TOKEN": "c" * 20,
    }
    settings = {name: value for service in OWN for name, value in SERVICES[service]["environment"].items()}
    assert {name.removeprefix("TAGGER_").lower() for name in settings} <= set(Settings.model_fields)
    for name, value in settings.items():
        monkeypatch.setenv(name, _interpolated(value, values))
    loaded = load_settings()
    assert loaded.web_folders == [Path("/photos")]
    assert loaded.web_write == "none"


def test_commands_and_health_checks_exist() -> None:
    healthcheck = re.findall(r'HEALTHCHECK .*CMD (\[.*\])|CMD (\["[ws].*\])', CONTAINERFILE)
    words = [json.loads(first or second) for first, second in healthcheck]
    words += [SERVICES[name]["command"] for name in OWN if "command" in SERVICES[name]]
    words += [SERVICES[name]["healthcheck"]["test"][1:] for name in ("worker", "worker-gpu")]
    assert len(words) == 10
    for command in words:
        check_command([word for word in command if word != "tagger"])


def _interpolated(text: str, values: dict[str, str]) -> str:
    """The text with the variables of compose: ${NAME:?message} and ${NAME:-default}."""
    return re.sub(
        r"\$\{(\w+):([?-])([^}]*)\}",
        lambda found: values[found[1]] if found[2] == "?" else found[3],
        text,
    )


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
    text = (UNITS / "tagger.env").read_text()
    for name, value in re.findall(r"^#?(TAGGER_\w+)=(.+)$", text, re.MULTILINE):
        monkeypatch.setenv(name, shlex.split(value)[0])
    settings = load_settings()
    assert settings.roots == {"Pictures": Path("/mnt/nas/pictures")}


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
