#!/usr/bin/env bash
# Makes .venv-vot, the environment of the VOT toolkit, which vot.py calls as a program.
#
#   bash scripts/setup_vot.sh
#
# It is apart from .venv, because it has another licence and other packages. SEQTRACK_VOT_VENV
# names another place, PYTHON the Python to build it with. What is there already is kept.
# Exit status: 0 it is there; 1 a step failed; 2 wrong arguments.
set -euo pipefail
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/_environment.sh"

case ${1:-} in
  "") ;;
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" && exit 0 ;;
  *) fail 2 "unknown argument '$1'; see bash scripts/setup_vot.sh --help" ;;
esac

# 0.7.4 is the last release whose experiments from anchors work, and attributee 0.1.10 cannot be
# imported by it. lib/vot/toolkit.py asks for the same version.
pins=(vot-toolkit==0.7.4 vot-trax==4.0.2 attributee==0.1.9 numpy==2.4.6 numba==0.68.1
  cachetools==8.0.1 phx-class-registry==5.1.1 lazy-object-proxy==1.13.0)
opencv=5.0.0.93

VENV=${SEQTRACK_VOT_VENV:-$SEQTRACK_ROOT/.venv-vot}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
cd "$SEQTRACK_ROOT"
python=$(find_python) || exit $?
version=$("$python" -c 'import sys; print(sys.version, sys.executable)' | tr '\n' ' ')
# numba 0.68 and numpy 2.4 left Python 3.10 behind; there pip chooses.
case $version in 3.10.*) pins=("${pins[@]:0:3}") ;; esac
key="toolkit ${pins[*]} $opencv $version"

lock_environment
if stamped "$key"; then
  unlock_environment
  say "the VOT toolkit is there already: $VENV"
  exit 0
fi
make_environment
VENV_PYTHON=$VENV/bin/python
step "installing the VOT toolkit: pip install ${pins[*]}" \
  "$VENV_PYTHON" -m pip install "${pins[@]}" "opencv-python==$opencv"
if ! trouble=$("$VENV_PYTHON" -c 'import cv2' 2>&1); then
  case $trouble in
    *"cannot open shared object file"*) ;;
    *) fail 1 "import cv2 failed: $trouble" ;;
  esac
  say "import cv2 failed (no libGL or X11 here); exchanging it for the headless one"
  step "removing opencv-python" "$VENV_PYTHON" -m pip uninstall --yes opencv-python
  step "installing opencv-python-headless $opencv" \
    "$VENV_PYTHON" -m pip install "opencv-python-headless==$opencv"
fi
step "looking whether it starts" "$VENV_PYTHON" -m vot --help
printf '%s\n' "$key" >"$VENV/.seqtrack-environment"
unlock_environment
say "the VOT toolkit is ready: $VENV"
