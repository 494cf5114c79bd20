#!/usr/bin/env bash
# Check the last commit, build it twice, and describe the files in the folder $1: digests, bill of materials, provenance.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "$1")
version=$(.venv/bin/python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
if [ -n "$(git status --porcelain)" ]; then
  echo "there are changes that are not committed" >&2
  exit 1
fi
if ! grep -q "^## $version - " CHANGELOG.md; then
  echo "CHANGELOG.md has no section \"## $version - DATE\"" >&2
  exit 1
fi
[ -n "${CHECKED:-}" ] || make test
rm -rf "$out" "$out.again"
deploy/build.sh "$out"
deploy/build.sh "$out.again"
rm "$out/.gitignore" "$out.again/.gitignore"
diff -r "$out" "$out.again"
rm -r "$out.again"
make --silent sbom
cp build/sbom.cdx.json "$out/landmark_tagger-$version.cdx.json"
.venv/bin/python - "$out" "$version" << 'PY'
"""Write the provenance: what was built, from which commit, with what (SLSA 1.0, in an in-toto statement)."""

import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

folder, release = Path(sys.argv[1]), sys.argv[2]
commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
tools = {name: version(name) for name in ("setuptools", "uv")}
statement = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [
        {"name": file.name, "digest": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}
        for file in sorted(folder.iterdir())
    ],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {
            "buildType": "deploy/build.sh",
            "externalParameters": {"version": release},
            "internalParameters": {"python": platform.python_version(), **tools},
            "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": commit}}],
        },
        "runDetails": {"builder": {"id": "deploy/release.sh"}},
    },
}
(folder / f"landmark_tagger-{release}.provenance.json").write_text(json.dumps(statement, indent=1) + "\n")
PY
cd "$out"
sha256sum -- * > SHA256SUMS
cat SHA256SUMS
