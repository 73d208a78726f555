#!/usr/bin/env bash
# Sets up .venv, trains a small SeqTrack on generated material, tracks held-out generated sequences
# with it, and scores it beside two baselines. No downloads but the packages; run it again and it
# goes on where it stopped.
#
#   bash scripts/quickstart.sh [-- ARGS]     ARGS go to the training, e.g. --set TRAIN.NUM_WORKER=8
#
# SEQTRACK_QUICKSTART names another folder than runs/quickstart, SEQTRACK_QUICKSTART_DATA another
# data set than `synthetic` to track. With SEQTRACK_NO_SETUP nothing is installed: `python` is taken
# as it is.
set -euo pipefail
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/_environment.sh"
[ $# -eq 0 ] || [ "$1" = -- ] ||
  fail 2 "unknown argument '$1'; arguments of the training go after --"
[ $# -eq 0 ] || shift

if [ -n "${SEQTRACK_NO_SETUP:-}" ]; then
  VENV=${VIRTUAL_ENV:-.venv} && cd "$SEQTRACK_ROOT"
else
  prepare_environment
fi
trap 'exit 130' INT
out=${SEQTRACK_QUICKSTART:-runs/quickstart} data=${SEQTRACK_QUICKSTART_DATA:-synthetic}
# The small network's products are too short to be shared out, and the loader has the other core.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

echo
echo "== 1. train seqtrack_tiny from scratch on generated pairs (about 10 minutes on 2 cores)"
python tracking/train.py --config seqtrack_tiny --save-dir "$out" "$@"

echo
echo "== 2. track the held-out sequences: look-alikes, occlusion, change of size, a moving camera"
python tracking/test.py --config seqtrack_tiny --dataset "$data" --save-dir "$out"

echo
echo "== 3. two baselines: a box that never moves, and OpenCV's MIL tracker"
python tracking/test.py static_box default --dataset "$data" --save-dir "$out"
python tracking/test.py mil default --dataset "$data" --save-dir "$out"

echo
echo "== 4. the scores"
python tracking/analysis_results.py --config seqtrack_tiny static_box/default mil/default \
  --dataset "$data" --save-dir "$out"

echo
echo "== 5. a moving picture"
python tracking/video_demo.py --dataset "$data" --sequence synthetic-001 --save-dir "$out" \
  --out "$out/synthetic-001.gif" --overwrite

cat <<END

Done. In $out:
  synthetic-001.gif        what it looks like (green: truth, the other colour: the tracker)
  test/tracking_results/   boxes: <tracker>/<config>/synthetic/<sequence>.txt, a row x y w h per frame
  test/analysis/           the scores as CSV and JSON
  checkpoints/, logs/      the weights and how they were trained

Next (README.md says more):
  source "${VENV#"$SEQTRACK_ROOT"/}/bin/activate"
  python tracking/video_demo.py YOUR_VIDEO.mp4 --box LEFT,TOP,WIDTH,HEIGHT   # a model trained for longer
  python scripts/download_checkpoints.py seqtrack_b256                       # the paper's model
END
