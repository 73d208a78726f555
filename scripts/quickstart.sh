#!/usr/bin/env bash
# Sets up .venv and tracks a sample with the model that comes with the repository. Then it trains
# one like it from scratch on generated material, tracks held-out generated sequences with both,
# and scores them beside two baselines. No downloads but the packages; run it again and it goes on
# where it stopped.
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
out=${SEQTRACK_QUICKSTART:-runs/quickstart} data=${SEQTRACK_QUICKSTART_DATA:-synthetic}
again="bash scripts/quickstart.sh"
shipped=checkpoints/train/seqtrack/seqtrack_nano/SEQTRACK.pth.tar
trap 'exit 130' INT
trap '[ $? -ne 130 ] || printf "\nStopped. What was done is kept: %s goes on from here.\n" "$again"' EXIT
# The small network's products are too short to be shared out, and the loader has the other core.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p "$out"

echo
echo "== 1. track a sample with the model that comes with the repository (seconds)"
python tracking/video_demo.py --dataset "$data" --sequence synthetic-002 \
  --checkpoint "$shipped" --out "$out/shipped.gif" --overwrite
echo "The moving picture is $out/shipped.gif (green: truth, the other colour: the tracker)."

echo
echo "== 2. train seqtrack_scratch on generated pairs: at most 8 minutes on 2 quiet cores."
echo "   Each line ends with the time left (ETA). Ctrl-C saves and stops; $again goes on."
python tracking/train.py --config seqtrack_scratch --save-dir "$out" "$@"

echo
echo "== 3. track the held-out sequences: look-alikes, occlusion, change of size, a moving camera;"
echo "   with the new model and with the shipped one, which was trained for hours"
python tracking/test.py --config seqtrack_scratch --dataset "$data" --save-dir "$out"
python tracking/test.py --config seqtrack_nano --dataset "$data" --save-dir "$out" \
  --checkpoint "$shipped"

echo
echo "== 4. two baselines: a box that never moves, and OpenCV's MIL tracker"
python tracking/test.py static_box default --dataset "$data" --save-dir "$out"
python tracking/test.py mil default --dataset "$data" --save-dir "$out"

echo
echo "== 5. the scores, in percent: AUC, how well the boxes overlap the true ones, ranks the trackers"
python tracking/analysis_results.py --config seqtrack_scratch seqtrack_nano static_box/default mil/default \
  --dataset "$data" --save-dir "$out"
python tracking/report.py --config seqtrack_scratch seqtrack_nano static_box/default mil/default \
  --dataset "$data" --save-dir "$out" --out "$out/report.html"

echo
echo "== 6. the same sample, tracked with the new model"
python tracking/video_demo.py --dataset "$data" --sequence synthetic-002 --save-dir "$out" \
  --config seqtrack_scratch --out "$out/trained.gif" --overwrite

cat <<END

Done. In $out:
  shipped.gif, trained.gif what it looks like (green: truth, the other colour: the tracker)
  report.html              open it in a browser: the scores, and every sequence with all boxes
  test/tracking_results/   boxes: <tracker>/<config>/synthetic/<sequence>.txt, a row x y w h per frame
  test/analysis/           the scores as CSV and JSON
  checkpoints/, logs/      the weights and how they were trained

Next (README.md says more):
  source "${VENV#"$SEQTRACK_ROOT"/}/bin/activate"
  python tracking/video_demo.py YOUR_VIDEO.mp4 --box LEFT,TOP,WIDTH,HEIGHT   # a model trained for longer
  python scripts/download_checkpoints.py seqtrack_b256                       # the paper's model
END
