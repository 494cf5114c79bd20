#!/usr/bin/env bash
# Build the wheel and the source archive of the last commit into the folder $1: the same bytes at each run, on machines of one kind.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:?name the folder to build into}")
bin=$PWD/.venv/bin
[ -x "$bin/uv" ] || { echo "there is no uv in .venv; run: make demo" >&2; exit 1; }
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/source" "$work/archive"
git archive HEAD CHANGELOG.md LICENSE README.md migrations pyproject.toml tagger trainer worker |
  tar --extract --no-same-permissions --directory "$work/source"
cd "$work/source"
"$bin/uv" build --quiet --no-build-isolation --python "$bin/python" --wheel --out-dir "$out" .
"$bin/uv" build --quiet --no-build-isolation --python "$bin/python" --sdist --out-dir "$work" .
# The builder stores the time and the user of the build.
tar --extract --file "$work"/*.tar.gz --directory "$work/archive"
name=$(ls "$work/archive")
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --directory "$work/archive" "$name" |
  gzip --no-name --best > "$out/$name.tar.gz"
