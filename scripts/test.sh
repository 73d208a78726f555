#!/usr/bin/env bash
# Sets up .venv, then lint, format, types and tests.
#
#   bash scripts/test.sh                    all tests but those marked slow or gpu
#   bash scripts/test.sh --all              these too, where the machine can run them
#                                           (vot: where scripts/setup_vot.sh made .venv-vot)
#   bash scripts/test.sh [--all] -- ARGS    ARGS go to pytest, e.g. tests/utils/test_boxes.py -k clip
#
# The tests run in as many processes as there are cores (at most 16); -- -n 0 runs them in one.
# Exit status: 0 all passed; 1 a stage failed (all stages run anyway); 2 wrong arguments.
set -euo pipefail
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/_environment.sh"

everything=""
while [ $# -gt 0 ]; do
  case $1 in
    --all) everything=yes ;;
    --) shift && break ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" && exit 0 ;;
    *) fail 2 "unknown argument '$1'; see bash scripts/test.sh --help (pytest's go after --)" ;;
  esac
  shift
done

prepare_environment dev

markers="not slow and not gpu"
minutes=10
if [ -n "$everything" ]; then
  markers="" minutes=25
  python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || markers="not gpu"
fi
[ -f "${SEQTRACK_VOT_VENV:-.venv-vot}/.seqtrack-environment" ] ||
  markers="${markers:+$markers and }not vot"

say "all tests of this run take about $minutes minutes on 2 cores"

trap 'exit 130' INT
status=0
summary=""
run_stage() { # NAME COMMAND...
  local name=$1 outcome=passed
  shift
  printf '\n== %s\n' "$name"
  "$@" || { outcome=FAILED status=1; }
  summary="$summary  $name: $outcome"$'\n'
}

# conftest.py writes there what was not run, because this script has to print it last.
SEQTRACK_SKIPPED=$(mktemp "${TMPDIR:-/tmp}/seqtrack-skipped.XXXXXX")
export SEQTRACK_SKIPPED
trap 'rm -f "$SEQTRACK_SKIPPED"' EXIT

run_stage "ruff check" python -m ruff check .
run_stage "ruff format" python -m ruff format --check .
run_stage "mypy" python -m mypy
run_stage "pytest" python -m pytest -m "$markers" -n auto --dist worksteal --durations 15 "$@"

printf '\n== summary\n%s' "$summary"
cat "$SEQTRACK_SKIPPED"
exit "$status"
