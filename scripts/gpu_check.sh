#!/usr/bin/env bash
# All that a GPU has to show, in one command: at most 25 minutes on one card.
#
#   bash scripts/gpu_check.sh                        into runs/gpu_check, with summary.md
#   bash scripts/gpu_check.sh --out FOLDER           elsewhere
#   bash scripts/gpu_check.sh --device cpu --quick   a rehearsal with tiny sizes, without a GPU
#   bash scripts/gpu_check.sh --help                 all options
#
# Started again, it goes on with the parts that have no record yet. It installs nothing and needs
# no network: PYTHON names the Python to use; by default the checkout's .venv, else python3.
# Exit status: 0 nothing failed; 1 a part failed; 2 wrong arguments; 130 and 143 it was stopped.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for python in "${PYTHON:-}" "$root/.venv/bin/python" python3 python; do
  [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null || continue
  exec "$python" "$root/benchmarks/gpu_check.py" "$@"
done
echo "error: no Python with torch was found; PYTHON=/path/to/python names one" >&2
exit 2
