"""An installation without extras has what its commands import; downloads have hashes."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tagger.extensions import install_command

WITHOUT_TORCH = (
    "cli",
    "database",
    "jobs.enqueue",
    "ledger",
    "roots",
    "texts",
    "query",
    "verdicts",
    "landmarks",
    "registry",
    "tags",
    "metadata",
    "photos",
)
"""The packages of tagger whose modules are quick to import."""

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


def test_modules_import_nothing_that_only_extras_install() -> None:
    declared = _distributions_without_extras()
    undeclared = [
        module
        for module, names in packages_distributions().items()
        if not declared & {canonicalize_name(name) for name in names}
    ]
    program = IMPORT_WITH.format(undeclared=undeclared, packages=WITHOUT_TORCH)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_programs_define_everything_before_they_run() -> None:
    for folder in ("tagger", "trainer", "worker", "migrations"):
        for file in (Path(__file__).parents[2] / folder).rglob("*.py"):
            *before, _ = ast.parse(file.read_bytes()).body or [None]
            assert "__main__" not in "".join(ast.dump(each) for each in before if isinstance(each, ast.If)), (
                file
            )


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


def test_the_lock_of_the_demo_has_the_same_files_as_the_whole_lock() -> None:
    whole, small = (_locked(Path(name)) for name in ("requirements.lock", "requirements-app.lock"))
    assert small.items() <= whole.items(), "run: make lock"
    assert "torch" not in {name.partition("==")[0] for name in small}
    declared = {canonicalize_name(name) for name in _distributions_without_extras()} - {"landmark-tagger"}
    assert declared <= {name.partition("==")[0] for name in small}


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str, text: str, command: str
) -> None:
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


def test_what_make_and_the_images_download_has_hashes() -> None:
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


def test_npm_installs_from_the_lock_without_scripts() -> None:
    commands = re.findall(r"\bnpm (?!keeps).*", Path("Makefile").read_text())
    assert [command.split()[1] for command in commands if ">" not in command] == ["ci"]
    assert all("--ignore-scripts" in command for command in commands if ">" not in command)
    packages = json.loads(Path("package-lock.json").read_text())["packages"]
    assert (
        packages.pop("")["devDependencies"] == json.loads(Path("package.json").read_text())["devDependencies"]
    )
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())


def _installs(text: str) -> list[str]:
    """The commands that install packages of Python."""
    joined = text.replace("\\\n", " ")
    return re.findall(r"\bpip install .*?(?=&&|\n|2>&1)", joined)
