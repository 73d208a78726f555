# Sourced by quickstart.sh, test.sh and .ci/run: the virtual environment of this checkout.
#
#   PYTHON          the Python to build it with (default: the first of python3, python, … >= 3.10)
#   SEQTRACK_VENV   where it is (default: .venv in the checkout)
#
# The file .seqtrack-environment inside it is written last: `key <hash>` of the requirement files
# and the Python version, `extra <name>` for each installed extra, and `headless` if OpenCV was
# exchanged. Without it, or with another key, the environment is made anew.
# Plain bash 3.2, which is what macOS has.

SEQTRACK_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Another project's settings must not reach into this environment.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX

say() { printf '[set-up] %s\n' "$*"; }

fail() { # STATUS MESSAGE
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

step() { # MESSAGE COMMAND...: one line, and the command's output only if it fails
  local message=$1 log
  shift
  say "$message"
  log=$(mktemp "${TMPDIR:-/tmp}/seqtrack-set-up.XXXXXX")
  if ! "$@" </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    fail 1 "this step failed, its output is above: $message"
  fi
  rm -f "$log"
}

find_python() { # prints the path of the Python to build with
  local candidate path
  # The base executable: an activated .venv must not be built from itself.
  local ask='
import sys, venv, ensurepip
sys.version_info >= (3, 10) or sys.exit(1)
print(getattr(sys, "_base_executable", None) or sys.executable)'
  if [ -n "${PYTHON:-}" ]; then
    "$PYTHON" -c "$ask" 2>/dev/null ||
      fail 2 "PYTHON=$PYTHON is not a Python 3.10 or newer with the venv module"
    return
  fi
  for candidate in python3 python python3.13 python3.12 python3.11 python3.10; do
    if path=$("$candidate" -c "$ask" 2>/dev/null); then
      printf '%s\n' "$path"
      return
    fi
  done
  fail 2 "Python 3.10 or newer with its venv module is needed (on Debian and Ubuntu:\
 apt install python3-venv); PYTHON=/path/to/python chooses one"
}

environment_key() { # prints the hash that the environment is kept under
  local python
  python=$(find_python) || exit $?
  {
    "$python" -c 'import sys; print(sys.version, sys.executable)'
    cat "$SEQTRACK_ROOT/pyproject.toml" "$SEQTRACK_ROOT/setup.py" "$SEQTRACK_ROOT/constraints.txt"
  } | { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; } | cut -c1-64
}

remove_old_environments() { # FOLDER KEY: each has gigabytes; keep KEY and the one used before it
  local name kept=0
  ls -t "$1" | while IFS= read -r name; do
    case $name in "$2" | *.lock) continue ;; esac
    kept=$((kept + 1))
    if [ "$kept" -gt 1 ] && [ -f "$1/$name/pyvenv.cfg" ]; then
      say "removing the old environment $1/$name"
      rm -rf "${1:?}/$name"
    fi
  done
}

lock_environment() { # one set-up at a time; the lock of a process that is gone does not count
  local lock=$VENV.lock owner told=""
  mkdir -p "$(dirname "$VENV")"
  until ln -s "$$" "$lock" 2>/dev/null; do
    owner=$(readlink "$lock" 2>/dev/null || true)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
      rm -f "$lock"
      continue
    fi
    [ -n "$told" ] || say "waiting for the set-up of process $owner (its lock: $lock)"
    told=yes
    sleep 1
  done
  trap 'rm -f "$VENV.lock"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

unlock_environment() {
  rm -f "$VENV.lock"
  trap - EXIT INT TERM
}

stamped() { grep -qxF "$1" "$VENV/.seqtrack-environment" 2>/dev/null; }

make_environment() { # KEY
  local python why="it was not finished"
  python=$(find_python) || exit $?
  if [ -e "$VENV" ]; then
    if [ ! -f "$VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$VENV")" ]; then
      fail 2 "$VENV is there but is no virtual environment; move it away or set SEQTRACK_VENV"
    fi
    if [ -f "$VENV/.seqtrack-environment" ]; then
      why="the requirement files or the Python version changed"
    fi
    say "remaking $VENV: $why"
    rm -rf "$VENV"
  fi
  step "creating $VENV with $("$python" --version 2>&1)" "$python" -m venv "$VENV"
}

exchange_opencv() { # opencv-python needs libGL and X11; a bare server has neither
  local trouble version
  if trouble=$("$VENV_PYTHON" -c 'import cv2' 2>&1); then return; fi
  case $trouble in
    *"cannot open shared object file"*) ;;
    *) fail 1 "import cv2 failed: $trouble" ;;
  esac
  version=$("$VENV_PYTHON" -c \
    'from importlib.metadata import version; print(version("opencv-python"))') || exit $?
  say "import cv2 failed ($(printf '%s\n' "$trouble" | tail -n 1))"
  step "exchanging opencv-python for opencv-python-headless $version" \
    "$VENV_PYTHON" -m pip uninstall --yes opencv-python opencv-python-headless
  step "installing opencv-python-headless $version" \
    "$VENV_PYTHON" -m pip install "opencv-python-headless==$version" -c constraints.txt
  step "installing the project with --no-deps, so that it stays exchanged" \
    "$VENV_PYTHON" -m pip install --no-deps -e .
  trouble=$("$VENV_PYTHON" -c 'import cv2' 2>&1) || fail 1 "import cv2 still fails: $trouble"
  HEADLESS=yes
}

check_dependencies() { # pip check; only the exchanged package may be missing
  local complaints
  complaints=$("$VENV_PYTHON" -m pip check 2>&1) && return
  if [ -n "$HEADLESS" ]; then
    complaints=$(printf '%s\n' "$complaints" |
      grep -v '^seqtrack [^ ]* requires opencv-python, which is not installed\.$' || true)
  fi
  [ -z "$complaints" ] || fail 1 "pip check: $complaints"
}

install_project() { # EXTRA (may be empty): by the README's line, on every run
  local target=.
  [ -z "$1" ] || target=".[$1]"
  HEADLESS=""
  if stamped headless && { [ -z "$1" ] || stamped "extra $1"; }; then
    HEADLESS=yes
    step "installing the project: pip install --no-deps -e . (OpenCV stays headless)" \
      "$VENV_PYTHON" -m pip install --no-deps -e .
  else
    stamped "key $2" || say "downloading what it needs takes some minutes and about 6 GB on Linux"
    step "installing the project: pip install -e \"$target\" -c constraints.txt" \
      "$VENV_PYTHON" -m pip install -e "$target" -c constraints.txt
    exchange_opencv
  fi
}

write_stamp() { # KEY EXTRA
  local stamp=$VENV/.seqtrack-environment extras
  extras=$({ grep '^extra ' "$stamp" 2>/dev/null || true; [ -z "$2" ] || echo "extra $2"; } | sort -u)
  {
    echo "key $1"
    [ -z "$extras" ] || printf '%s\n' "$extras"
    [ -z "$HEADLESS" ] || echo headless
  } >"$stamp.new"
  mv "$stamp.new" "$stamp"
}

prepare_environment() { # [EXTRA]: afterwards `python` is the environment's, and cwd the checkout
  local extra=${1:-} key
  VENV=${SEQTRACK_VENV:-$SEQTRACK_ROOT/.venv}
  case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
  cd "$SEQTRACK_ROOT"
  key=$(environment_key) || exit $?
  lock_environment
  stamped "key $key" || make_environment
  VENV_PYTHON=$VENV/bin/python
  install_project "$extra" "$key"
  check_dependencies
  write_stamp "$key" "$extra"
  unlock_environment
  export VIRTUAL_ENV=$VENV PATH="$VENV/bin:$PATH"
}
