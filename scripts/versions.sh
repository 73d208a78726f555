#!/usr/bin/env bash
# Tries the project on each Python with the newest packages that pyproject.toml allows, and on the
# first one with the oldest too.
#
#   bash scripts/versions.sh                                       Python 3.10, 3.11, 3.12, 3.13
#   bash scripts/versions.sh 3.12 /opt/python/bin/python3.13       these, by version or path
#
# A version is looked for on PATH and in pyenv's folder; one that is missing is skipped and said.
# uv makes the environments (that on PATH, or one that is installed there) in build/versions, or in
# the folder that SEQTRACK_VERSIONS names: about 15 GB, and three minutes of tests for each.
# Exit status: 0 all that was tried passed; 1 something failed; 2 wrong arguments, or no Python.
set -euo pipefail
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/_environment.sh"

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" && exit 0 ;;
  -*) fail 2 "unknown argument '$1'; see bash scripts/versions.sh --help" ;;
esac
[ $# -gt 0 ] || set -- 3.10 3.11 3.12 3.13

# What meets the packages' own behaviour: networks and recorded numbers, weights, configurations,
# pictures, video, exports, requests. The rest is plain Python; large networks take long.
tests=(tests/api/test_tracker.py tests/config/test_config.py tests/masks/test_sam2.py
  tests/parity/test_crops_and_boxes.py tests/parity/test_model.py tests/parity/test_training.py
  tests/serve/test_track_route.py tests/tracker/test_onnx.py tests/utils/test_checkpoint.py
  tests/video/test_video_file.py)
small="not every_variant and not b256 and not b384 and not l256 and not l384"
# Every module of the project can be imported, whatever of the extras it uses.
imports='
import importlib, pkgutil, lib, seqtrack
for found in pkgutil.walk_packages(lib.__path__, "lib."):
    importlib.import_module(found.name)'
shown='
import sys
from importlib.metadata import version
names = ("torch", "torchvision", "timm", "numpy", "av", "pydantic")
print("Python", sys.version.split()[0], *(f"{name} {version(name)}" for name in names), sep=", ")'

find_version() { # VERSION OR PATH: prints the path of that Python
  local candidate
  for candidate in "$1" "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1"*/bin/python; do
    candidate=$(command -v "$candidate" 2>/dev/null) || continue
    # A shim of pyenv is there for versions that are not switched on, too.
    "$candidate" -c 'import sys; print(sys.executable)' 2>/dev/null && return
  done
  return 1
}

find_uv() { # prints its path
  if ! command -v uv; then
    "$python" -m venv "$folder/uv" && "$folder/uv/bin/python" -m pip install --quiet uv >&2
    echo "$folder/uv/bin/uv"
  fi
}

install() { # RESOLUTION: into $VENV; older starlettes test with httpx
  local version
  VENV_PYTHON=$VENV/bin/python
  "$uv" venv --quiet --clear --python "$python" "$VENV" &&
    "$uv" pip install --quiet --python "$VENV_PYTHON" --resolution "$1" \
      -e ".[dev,openvino]" "httpx>=0.27" &&
    "$uv" pip check --quiet --python "$VENV_PYTHON" || return
  # opencv-python needs libGL and X11; a bare server has neither.
  "$VENV_PYTHON" -c 'import cv2' 2>/dev/null && return
  version=$("$VENV_PYTHON" -c 'from importlib.metadata import version as v; print(v("opencv-python"))')
  "$uv" pip uninstall --quiet --python "$VENV_PYTHON" opencv-python opencv-python-headless
  "$uv" pip install --quiet --python "$VENV_PYTHON" --no-deps "opencv-python-headless==$version"
}

try() { # RESOLUTION
  local outcome=passed
  VENV=$folder/$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$1
  say "$VENV"
  { install "$1" && "$VENV_PYTHON" -c "$imports" &&
    "$VENV_PYTHON" -m pytest -q -m "not slow and not gpu" -k "$small" "${tests[@]}"; } ||
    { outcome=FAILED status=1; }
  summary="$summary  $outcome, ${1}: $("$VENV/bin/python" -c "$shown" 2>&1 | tail -n 1)"$'\n'
}

cd "$SEQTRACK_ROOT"
folder=${SEQTRACK_VERSIONS:-build/versions}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
status=0 summary="" uv="" oldest=yes
for wanted in "$@"; do
  if ! python=$(find_version "$wanted"); then
    summary="$summary  missing: Python $wanted"$'\n'
    continue
  fi
  uv=${uv:-$(find_uv)}
  try highest
  [ -z "$oldest" ] || try lowest-direct
  oldest=""
done
[ -n "$uv" ] || fail 2 "none of these Pythons was found: $*"
printf '\n== summary\n%s' "$summary"
exit "$status"
