#!/usr/bin/env bash
# Sets up .venv, then tracks the built-in synthetic sequences and scores the result.
# No downloads but the packages; run it again and it goes on where it stopped.
set -euo pipefail
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/_environment.sh"
[ $# -eq 0 ] || fail 2 "unknown argument '$1'; quickstart.sh takes none"

prepare_environment
trap 'exit 130' INT
out=runs/quickstart

echo
echo "== 1. static_box: a tracker that never moves its box, the floor to beat"
python tracking/test.py static_box default --dataset synthetic --save_dir "$out"

echo
echo "== 2. a tiny SeqTrack with random weights: the whole pipeline, but it has learned nothing"
python tracking/test.py --config seqtrack_tiny --checkpoint random --dataset synthetic \
  --save_dir "$out"

echo
echo "== 3. one sequence again, with pictures"
python tracking/test.py --config seqtrack_tiny --checkpoint random --dataset synthetic \
  --sequence 0 --debug --save_dir "$out"

echo
echo "== 4. the scores"
python tracking/analysis_results.py --config static_box/default seqtrack_tiny \
  --dataset synthetic --save_dir "$out"

cat <<END

Done. In $out:
  test/tracking_results/   boxes: <tracker>/<config>/synthetic/<sequence>.txt, a row x y w h per frame
  test/analysis/           the scores as CSV and JSON
  test/debug/              frames with the boxes drawn (green: truth, red: tracker)

Next (README.md says more):
  source "${VENV#"$SEQTRACK_ROOT"/}/bin/activate"
  python scripts/download_checkpoints.py seqtrack_b256
  python tracking/test.py --config seqtrack_b256 --dataset PATH/TO/YOUR/SEQUENCES
END
