"""Check of the processes that decode uploads, suspicious photos and RAW photos without a preview: what confines them on this system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.doctor.findings import note, ok, wrong
from tagger.errors import PhotoFailed
from tagger.jobs.processing.model_cache import photo_limits
from tagger.pipeline.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.settings import Settings

_PHOTOS = {
    "suspicious": "uploads, photos on which workers died, and RAW photos without a preview",
    "always": "all photos and uploads",
}


def check_sandbox(settings: Settings) -> Iterator[Finding]:
    """Start a process that decodes, and report its layers."""
    try:
        with Sandbox(photo_limits(settings)) as sandbox:
            layers = sandbox.layers()
    except PhotoFailed as failed:
        yield wrong(
            "sandbox", f"photos cannot be decoded in a process of their own: {failed}", "report this line"
        )
        return
    yield sandbox_finding(settings.sandbox, layers)


def sandbox_finding(setting: str, layers: list[str]) -> Finding:
    photos, found = _PHOTOS[setting], ", ".join(layers) or "none"
    if "seccomp" in layers:
        return ok("sandbox", f"{photos} are decoded without files, network and other programs ({found})")
    text = f"{photos} are decoded in processes of their own, but the system confines them little ({found}): there is no seccomp"
    return note(
        "sandbox",
        text,
        "run on Linux on x86_64 or aarch64, and let the container's seccomp profile allow seccomp",
    )
