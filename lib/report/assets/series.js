// From a block of the page to boxes, overlaps, confidences and pictures of one sequence.

const loadedClips = new Map();
const KEPT_CLIPS = 6;

async function loadClip(row) {
  if (!loadedClips.has(row.block)) {
    if (loadedClips.size >= KEPT_CLIPS) loadedClips.delete(loadedClips.keys().next().value);
    loadedClips.set(row.block, readClip(row));
  }
  return loadedClips.get(row.block);
}

async function readClip(row) {
  const block = readBlock(row.block);
  const steps = report.steps;
  const rows = 4 + block.confidence.reduce((sum, has) => sum + (has ? 6 : 5), 0);
  const values = await unpack(block.series, rows, row.frames);
  let next = 0;
  const take = (unit) => scaled(values[next++], unit, steps.missing);
  const box = () => [take(steps.box), take(steps.box), take(steps.box), take(steps.box)];
  const truth = box();
  const tracks = block.confidence.map((has) => ({
    box: box(),
    overlap: take(steps.overlap),
    confidence: has ? take(steps.confidence) : null,
  }));
  const pictures = block.pictures.map(([frame, source]) => ({ frame, source }));
  return { frames: row.frames, truth, tracks, pictures, lowest: block.lowest, widest: block.widest };
}

// Undo pack() of lib/report/series.py: rows of whole numbers.
async function unpack(text, rows, frames) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const plane = rows * frames;
  const result = [];
  for (let row = 0; row < rows; row++) {
    const values = new Int32Array(frames);
    let value = 0;
    for (let frame = 0; frame < frames; frame++) {
      const i = row * frames + frame;
      const step = bytes[i] | (bytes[plane + i] << 8) | (bytes[2 * plane + i] << 16) | (bytes[3 * plane + i] << 24);
      value = (value + step) | 0;
      values[frame] = value;
    }
    result.push(values);
  }
  return result;
}

function scaled(values, unit, missing) {
  return Float64Array.from(values, (value) => (value === missing ? NaN : value / unit));
}

// x, y, w, h of a frame, or null where there is no box to draw.
function boxAt(columns, frame) {
  const box = columns.map((column) => column[frame]);
  return box.every(Number.isFinite) && box[2] > 0 && box[3] > 0 ? box : null;
}

// Place in `pictures` of the one nearest to a frame, -1 without any.
function nearestPicture(pictures, frame) {
  let best = -1;
  for (let i = 0; i < pictures.length; i++) {
    if (best < 0 || Math.abs(pictures[i].frame - frame) < Math.abs(pictures[best].frame - frame)) best = i;
  }
  return best;
}
