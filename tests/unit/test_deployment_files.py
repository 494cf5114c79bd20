"""The files of deploy and the locked packages: valid, hardened, with settings, commands and licences that exist."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions, packages_distributions
from importlib.resources import files
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema.validators import validator_for
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.command_words import check_command

from tagger.extensions import install_command
from tagger.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# The services that run images of deploy/Containerfile.
OWN = ("upgrade", "worker", "worker-gpu", "beat", "web")
UNITS = DEPLOY / "systemd"
NAMES = ("tagger-worker", "tagger-worker-gpu@0", "tagger-beat", "tagger-web", "tagger-upgrade")
SANDBOX = UNITS / "tagger-.service.d" / "10-sandbox.conf"
MOST_EXPOSED = 2.0  # Of systemd's scale from 0 to 10; a unit without a sandbox has 9.2


@pytest.mark.slow
def test_compose_file_matches_the_schema_of_compose():
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    errors = [
        f"{error.json_path}: {error.message}" for error in validator_for(schema)(schema).iter_errors(COMPOSE)
    ]
    assert errors == []


@pytest.mark.parametrize("name", OWN)
def test_own_services_are_hardened_and_read_photos_only(name):
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


def test_compose_publishes_no_server_and_its_variables_are_in_the_example():
    assert COMPOSE["networks"]["private"]["internal"] is True
    for name in ("postgres", "redis", "hide"):
        assert SERVICES[name]["networks"] == ["private"]
        assert "ports" not in SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["web"]["ports"])
    example = (DEPLOY / "example.env").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert required == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    optional = set(re.findall(r"\$\{(\w+):-", TEXT))
    assert optional == set(re.findall(r"^#(\w+)=", example, re.MULTILINE))
    healthcheck = re.findall(r'HEALTHCHECK .*CMD (\[.*\])|CMD (\["[ws].*\])', CONTAINERFILE)
    words = [json.loads(first or second) for first, second in healthcheck]
    words += [SERVICES[name]["command"] for name in OWN if "command" in SERVICES[name]]
    words += [SERVICES[name]["healthcheck"]["test"][1:] for name in ("worker", "worker-gpu")]
    assert len(words) == 10
    for command in words:
        check_command([word for word in command if word != "tagger"])


def test_settings_exist_and_are_valid(monkeypatch):
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


def _interpolated(text: str, values: dict[str, str]) -> str:
    """The text with the variables of compose: ${NAME:?message} and ${NAME:-default}."""
    return re.sub(
        r"\$\{(\w+):([?-])([^}]*)\}",
        lambda found: values[found[1]] if found[2] == "?" else found[3],
        text,
    )


@pytest.fixture
def machine(tmp_path) -> Path:
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
def test_systemd_accepts_the_units(machine):
    done = _analyze("verify", machine, *(f"{name}.service" for name in NAMES), "tagger.target")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_units_expose_little_and_only_a_worker_with_a_gpu_sees_devices(machine, name):
    done = _analyze("security", machine, "--offline=yes", f"{name}.service")
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) < MOST_EXPOSED
    sees_devices = "potentially has access to hardware devices" in done.stdout
    assert sees_devices == ("gpu" in name)


def test_units_have_existing_commands_and_the_role_that_owns_the_schema():
    """systemd reads it after the units, so its lines would count."""
    shared = _names_in(SANDBOX)
    for unit in UNITS.glob("*.service"):
        # Each line of Environment adds to the others.
        assert not (_names_in(unit) & shared) - {"Environment"}, unit.name
    assert SANDBOX.name < "override.conf"  # which `systemctl edit` writes: it counts more
    text = (UNITS / "tagger-upgrade.service").read_text()
    files = re.findall(r"^EnvironmentFile=(.+)$", text, re.MULTILINE)
    assert files == ["/etc/tagger.env", "-/etc/tagger-owner.env"]  # the last one counts
    texts = [path.read_text() for path in UNITS.glob("*.service")]
    commands = [
        found[1] for text in texts if (found := re.search(r"^ExecStart=/\S+/tagger (.*)", text, re.MULTILINE))
    ]
    assert len(commands) == len(NAMES)
    for command in commands:
        check_command(command.split())


def test_settings_of_the_units_exist_and_their_examples_are_valid(monkeypatch):
    texts = [path.read_text() for path in UNITS.rglob("*") if path.is_file()]
    names = {name for text in texts for name in re.findall(r"\bTAGGER_(\w+)=", text)}
    assert {"DATABASE_URL", "REDIS_URL", "DATA_FOLDER"} <= names
    assert {name.lower() for name in names} <= set(Settings.model_fields)
    text = (UNITS / "tagger.env").read_text()
    for name, value in re.findall(r"^#?(TAGGER_\w+)=(.+)$", text, re.MULTILINE):
        monkeypatch.setenv(name, shlex.split(value)[0])
    settings = load_settings()
    assert settings.roots == {"Pictures": Path("/mnt/nas/pictures")}


def _analyze(verb: str, root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", verb, f"--root={root}", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _names_in(file: Path) -> set[str]:
    """The names of the settings of a unit's service, or of a drop-in's."""
    _, _, service = file.read_text().partition("[Service]\n")
    return set(re.findall(r"^(\w+)=", service.partition("\n[")[0], re.MULTILINE))


MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
PODS = {
    each["metadata"]["name"]: each["spec"]["template"] for each in MANIFESTS if "template" in each["spec"]
}
KUBERNETES = "1.33"


def containers() -> Iterator[dict[str, Any]]:
    for pod in PODS.values():
        yield from pod["spec"]["containers"]


@pytest.mark.slow
def test_manifests_match_the_schemas_of_kubernetes():
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_selectors_select_their_own_pods_and_only_a_silent_page_is_restarted():
    assert PODS.keys() == {"tagger-upgrade", "tagger-worker", "tagger-beat", "tagger-web"}
    for manifest in MANIFESTS:
        name, selector = manifest["metadata"]["name"], manifest["spec"].get("selector")
        labels = PODS[name]["metadata"]["labels"]
        assert labels == {"app": name}
        assert manifest["kind"] == "Job" or selector in (labels, {"matchLabels": labels})
    alive = {container["name"] for container in containers() if "livenessProbe" in container}
    assert alive == {"web"}
    guide = (PROJECT / "docs" / "how-to" / "deploy.md").read_text()
    secret = re.findall(r"create secret generic (\S+)", guide)
    assert {container["envFrom"][0]["secretRef"]["name"] for container in containers()} == set(secret)
    settings = re.findall(r"--from-literal=TAGGER_(\w+)=", guide)
    assert {name.lower() for name in settings} <= set(Settings.model_fields)


def test_pods_and_containers_are_hardened():
    for pod in PODS.values():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "fsGroup" not in security  # it changes the group and permissions of all files on a volume
        assert pod["spec"]["automountServiceAccountToken"] is False
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"/data", "/tmp"}


def test_commands_probes_and_settings_exist(monkeypatch):
    for container in containers():
        check_command(container["args"])
        for probe in (
            value for name, value in container.items() if name.endswith("Probe") and "exec" in value
        ):
            program, *words = probe["exec"]["command"]
            assert program == "tagger"
            check_command(words)
        for variable in container.get("env", ()):
            assert variable["name"].removeprefix("TAGGER_").lower() in Settings.model_fields
            monkeypatch.setenv(variable["name"], variable["value"])
    assert load_settings().web_folders == [Path("/photos")]


# The packages of tagger whose modules are quick to import.
WITHOUT_TORCH = (
    "cli", "database", "jobs.enqueue", "ledger", "roots", "texts", "query", "verdicts",
    "landmarks", "registry", "tags", "metadata", "photos",
)  # fmt: skip

IMPORT_WITH = """
import importlib, pkgutil, sys

undeclared = set({undeclared!r})

class Undeclared:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in undeclared:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Undeclared())
import tagger
names = ["worker.producer", "migrations"]
for package in {packages!r}:
    folder = importlib.import_module(f"tagger.{{package}}").__path__
    names += [module.name for module in pkgutil.walk_packages(folder, f"tagger.{{package}}.")]
for name in names:
    importlib.import_module(name)
"""


def test_modules_import_nothing_of_extras_define_all_before_they_run_and_name_licences():
    declared = _distributions_without_extras()
    undeclared = [
        module
        for module, names in packages_distributions().items()
        if not declared & {canonicalize_name(name) for name in names}
    ]
    program = IMPORT_WITH.format(undeclared=undeclared, packages=WITHOUT_TORCH)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for folder in ("tagger", "trainer", "worker", "migrations"):
        for file in (PROJECT / folder).rglob("*.py"):
            *before, _ = ast.parse(file.read_bytes()).body or [None]
            assert "__main__" not in "".join(ast.dump(each) for each in before if isinstance(each, ast.If)), (
                file
            )
    found = {name for name, package in locked_packages() if not declared_licences(package)}
    assert found - UNDECLARED.keys() == set()


def _distributions_without_extras() -> set[str]:
    """The names of what pyproject.toml requires, directly and indirectly, without extras."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    open_requirements = [Requirement(text) for text in project["dependencies"]]
    found: set[tuple[str, str]] = set()
    while open_requirements:
        requirement = open_requirements.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            requires = map(Requirement, distribution(requirement.name).requires or ())
            open_requirements += [
                needed
                for needed in requires
                if needed.marker is None or needed.marker.evaluate({"extra": extra})
            ]
    return {"landmark-tagger"} | {name for name, _extra in found}


@pytest.mark.parametrize(
    ("record", "text", "command"),
    [
        (
            "uv-receipt.toml",
            '[tool]\nrequirements = [{ name = "landmark-tagger", extras = ["heic"] }]',
            "uv tool install",
        ),
        (
            "pipx_metadata.json",
            '{"main_package": {"package_or_url": "/some/folder[heic]"}}',
            "pipx install --force",
        ),
    ],
)
def test_the_command_for_a_missing_extra_keeps_what_was_installed_before(
    tmp_path, monkeypatch, record, text, command
):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    install_command.cache_clear()
    assert install_command("web") == f"pip install '{Path.cwd()}[web]'"
    (tmp_path / record).write_text(text)
    install_command.cache_clear()
    assert install_command("web") == f"{command} '{Path.cwd()}[heic,web]'"
    monkeypatch.undo()
    install_command.cache_clear()
    assert install_command("train") == "make setup"
    assert install_command("raw") == ".venv/bin/uv pip install --editable '.[raw]'"  # not 6 GB


def _locked(file: Path) -> dict[str, set[str]]:
    """The hashes of each requirement of a lock, which is a name with a version."""
    lines = file.read_text().replace("\\\n", "").splitlines()
    requirements = (line.partition(" --hash=") for line in lines if line)
    return {name.partition(" ;")[0].strip(): set(hashes.split()) for name, _, hashes in requirements}


def test_what_is_downloaded_has_hashes_and_runs_no_scripts():
    for file in ("Makefile", "deploy/Containerfile"):
        for command in _installs(Path(file).read_text()):
            is_local = "--no-deps" in command and re.search(r"(--editable \.|\.whl)$", command)
            assert is_local or re.search(
                r"--require-hashes|--constraint (requirements\.lock|constraints\.txt)", command
            ), command
    for lock in Path().glob("requirements*.lock"):
        pinned = re.split(r"^(?=[a-z])", lock.read_text(), flags=re.MULTILINE)[1:]
        assert pinned, lock
        assert all("==" in each and "--hash=sha256:" in each for each in pinned), lock
    commands = re.findall(r"\bnpm (?!keeps).*", Path("Makefile").read_text())
    assert [command.split()[1] for command in commands if ">" not in command] == ["ci"]
    assert all("--ignore-scripts" in command for command in commands if ">" not in command)
    packages = json.loads(Path("package-lock.json").read_text())["packages"]
    assert (
        packages.pop("")["devDependencies"] == json.loads(Path("package.json").read_text())["devDependencies"]
    )
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    whole, small = (_locked(Path(name)) for name in ("requirements.lock", "requirements-app.lock"))
    assert small.items() <= whole.items(), "run: make lock"
    assert "torch" not in {name.partition("==")[0] for name in small}
    declared = {canonicalize_name(name) for name in _distributions_without_extras()} - {"landmark-tagger"}
    assert declared <= {name.partition("==")[0] for name in small}


def _installs(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return re.findall(r"\bpip install .*?(?=&&|\n|2>&1)", joined)


# Packages whose wheels contain, or name, something under the GPL or AGPL.
COPYLEFT = {
    "pillow-heif": "of the extra `heic`: its wheel has libx265, the GPL encoder, which is never called",
    "numpy": "libgfortran, with the GCC runtime library exception",
    "openvino": "of the extra `openvino`: a function of oneTBB, with the GCC runtime library exception",
    "torch": "lists the licence of a test suite that its wheel does not contain",
}

# Packages that declare no licence.
UNDECLARED = {
    "axe-playwright-python": "of the extra `dev`: MIT, by its licence file",
    "cuda-toolkit": "names NVIDIA's packages and contains nothing",
}

_DECLARED = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
_IN_TEXT = re.compile(
    r"^\s*(GNU (AFFERO )?GENERAL PUBLIC LICENSE\s+Version|License: A?GPL)", re.IGNORECASE | re.MULTILINE
)
_TEXT_NAME = re.compile(r"licen[cs]e|copying|notice|third.party", re.IGNORECASE)


@pytest.mark.slow
def test_packages_under_the_gpl_are_known():
    found = {
        name
        for name, package in locked_packages()
        if any(_DECLARED.search(licence) for licence in declared_licences(package))
        or any(_IN_TEXT.search(text) for text in licence_texts(package))
    }
    assert found - COPYLEFT.keys() == set()


def locked_packages() -> Iterator[tuple[str, Distribution]]:
    """The packages of the lock that are installed: not those of other systems."""
    lock = Path("requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, re.MULTILINE))
    found = {canonicalize_name(package.metadata["Name"]): package for package in distributions()}
    assert len(locked & found.keys()) > 0.9 * len(locked)
    yield from ((name, found[name]) for name in sorted(locked & found.keys()))


def declared_licences(package: Distribution) -> list[str]:
    classifiers = package.metadata.get_all("Classifier") or []
    licences = [value for value in classifiers if value.startswith("License ::")]
    licences += [package.metadata.get(field, "")[:200] for field in ("License-Expression", "License")]
    return [licence for licence in licences if licence]


def licence_texts(package: Distribution) -> Iterator[str]:
    for file in package.files or ():
        if ".dist-info" in str(file) and _TEXT_NAME.search(file.name):
            yield Path(str(file.locate())).read_text(errors="replace")
