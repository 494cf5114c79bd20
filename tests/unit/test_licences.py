"""The licences of the locked packages: what requires the source of everything that is distributed with it is known, with a reason."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

COPYLEFT = {
    "pillow-heif": "of the extra `heic`: its wheel has libx265, the GPL encoder, which is never called",
    "numpy": "libgfortran, with the GCC runtime library exception",
    "openvino": "of the extra `openvino`: a function of oneTBB, with the GCC runtime library exception",
    "torch": "lists the licence of a test suite that its wheel does not contain",
}
"""Packages whose wheels contain, or name, something under the GPL or AGPL."""

UNDECLARED = {
    "axe-playwright-python": "of the extra `dev`: MIT, by its licence file",
    "cuda-toolkit": "names NVIDIA's packages and contains nothing",
}
"""Packages that declare no licence."""

_DECLARED = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
_IN_TEXT = re.compile(
    r"^\s*(GNU (AFFERO )?GENERAL PUBLIC LICENSE\s+Version|License: A?GPL)", re.IGNORECASE | re.MULTILINE
)
_TEXT_NAME = re.compile(r"licen[cs]e|copying|notice|third.party", re.IGNORECASE)


@pytest.mark.slow
def test_packages_under_the_gpl_are_known() -> None:
    found = {
        name
        for name, package in locked_packages()
        if any(_DECLARED.search(licence) for licence in declared_licences(package))
        or any(_IN_TEXT.search(text) for text in licence_texts(package))
    }
    assert found - COPYLEFT.keys() == set()


def test_packages_declare_their_licences() -> None:
    found = {name for name, package in locked_packages() if not declared_licences(package)}
    assert found - UNDECLARED.keys() == set()


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
