"""Make OpenVINO's form of a shipped model without its weights: `make graph`.

It runs that model without torch. The same artifact and version of OpenVINO give the same bytes.
"""

from __future__ import annotations

import re
import sys
import tempfile
import zipfile
from pathlib import Path

from tagger.model.artifact import file_digest, load_module, read_manifest
from tagger.model.backends.openvino import CONSTANTS, GRAPH, convert

# Shorter constants are stored: an artifact may have the same bytes by chance, where a program is.
LEAST_SHARED_BYTES = 64
HALF_BYTES = 2
# Where the graph names the bytes of a constant.
PLACES = re.compile(r'offset="(\d+)" size="(\d+)"')


def main(artifact: Path, out: Path) -> None:
    """Write the graph of an artifact to `out`."""
    import openvino  # after tagger.model.backends, which keeps its telemetry out

    digest = file_digest(artifact)
    with tempfile.TemporaryDirectory() as parent:
        file = Path(parent, "model.xml")
        module = load_module(artifact, digest)
        has_halves = any(
            parameter.element_size() == HALF_BYTES for parameter in module.parameters()
        )
        model = convert(module, read_manifest(artifact).input.size)
        openvino.save_model(model, file, compress_to_fp16=has_halves)
        stored_graph, weights = file.read_text(), file.with_suffix(".bin").read_bytes()
    graph, constants = place_in_artifact(stored_graph, weights, artifact.read_bytes())
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = digest.encode()
        for name, data in ((GRAPH, graph.encode()), (CONSTANTS, constants)):
            archive.writestr(
                zipfile.ZipInfo(name),
                data,
                zipfile.ZIP_DEFLATED,
                9,
            )


def place_in_artifact(
    graph: str,
    weights: bytes,
    artifact: bytes,
) -> tuple[str, bytes]:
    """Return the graph with places counted from the start of the artifact, and constants to append to it."""
    constants = bytearray()

    def place(match: re.Match[str]) -> str:
        offset, size = map(int, match.groups())
        data = weights[offset : offset + size]
        start = artifact.find(data) if size >= LEAST_SHARED_BYTES else -1
        if start < 0:
            start = len(artifact) + len(constants)
            constants.extend(data)
        return f'offset="{start}" size="{size}"'

    return PLACES.sub(place, graph), bytes(constants)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
