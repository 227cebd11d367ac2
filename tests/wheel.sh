#!/usr/bin/env bash
# Builds the sdist and from it the wheel, installs that into a fresh environment and runs the demo from it with no compiler on PATH.
# Dependencies come from the environment of the Python given, so that torch is not installed twice.
set -euo pipefail
python=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m build --outdir "$folder" . > "$folder/build.log" 2>&1 || { cat "$folder/build.log"; exit 1; }
"$python" -m venv "$folder/venv"
fresh=$folder/venv/bin
"$fresh/pip" install --quiet --disable-pip-version-check --no-deps "$folder"/netdissect_fast-*.whl
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
  > "$("$fresh/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
cd "$folder"
(
  export PATH="$fresh:/nonexistent" NETDISSECT_FAST_CACHE="$folder/cache"
  ! command -v cc c++ gcc g++ clang cmake
  netdissect-fast info
  python -c 'import netdissect_fast; assert "venv" in netdissect_fast.__file__, netdissect_fast.__file__'
  netdissect-fast demo --out demo --images 120
)
test -s demo/trained/run.json
test -s demo/report/index.html
echo "the wheel works"
