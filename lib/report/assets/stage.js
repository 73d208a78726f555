// The picture of a frame with the boxes on it.

const KEPT_IMAGES = 60;
const AHEAD = 4;
const TAG = 17;
// A close-up shows so many times the target's size.
const CLOSE_UP = 5;

function makeStage(row, clip) {
  const canvas = el("canvas", { "aria-hidden": "true" });
  const boxes = svg("svg", { role: "img", id: "boxes" });
  const note = el("p", { class: "stage-note", hidden: true });
  const node = el("div", { class: "stage", vars: { "--ratio": `${row.width} / ${row.height}`, "--wide": row.width / row.height } },
    canvas, boxes, note);
  const images = new Map();
  let asked = 0;

  async function draw(frame) {
    const region = state.zoom ? closeUp(row, clip, frame) : [0, 0, row.width, row.height];
    drawBoxes(boxes, row, clip, frame, region, region[2] / (node.clientWidth || row.width));
    const call = ++asked;
    const index = nearestPicture(clip.pictures, frame);
    if (index < 0) return tell(note, "There are no pictures in this report.");
    const picture = clip.pictures[index];
    const exact = picture.frame === frame;
    try {
      const image = await imageOf(index);
      if (call !== asked) return;
      paint(canvas, image, region.map((value) => value * image.naturalWidth / row.width));
      canvas.classList.toggle("dim", !exact);
      tell(note, exact ? "" : `No picture of frame ${frame + 1}; behind the boxes is frame ${picture.frame + 1}.`);
    } catch {
      if (call === asked) tell(note, `The picture of frame ${picture.frame + 1} cannot be shown${
        picture.source.startsWith("data:") ? "" : `: ${decodeURI(picture.source)}`}.`);
    }
    for (let next = index + 1; next <= index + AHEAD && next < clip.pictures.length; next++) imageOf(next).catch(() => {});
  }

  function imageOf(index) {
    if (!images.has(index)) {
      if (images.size >= KEPT_IMAGES) images.delete(images.keys().next().value);
      const image = new Image();
      image.src = clip.pictures[index].source;
      images.set(index, image.decode().then(() => image));
    }
    return images.get(index);
  }

  return { node, draw };
}

function tell(note, text) {
  note.textContent = text;
  note.hidden = !text;
}

// The part x, y, w, h of an image, in its own pixels.
function paint(canvas, image, [x, y, width, height]) {
  const side = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  if (canvas.width !== side[0] || canvas.height !== side[1]) [canvas.width, canvas.height] = side;
  canvas.getContext("2d").drawImage(image, x, y, width, height, 0, 0, ...side);
}

// The part of a frame around the target, in the frame's shape; around where it was last if it is gone.
function closeUp(row, clip, frame) {
  let box = null;
  for (let i = frame; i >= 0 && !box; i--) box = boxAt(clip.truth, i);
  if (!box) return [0, 0, row.width, row.height];
  const ratio = row.width / row.height;
  const width = Math.min(row.width, CLOSE_UP * Math.max(box[2], box[3] * ratio, 8));
  const height = width / ratio;
  return [clamp(box[0] + box[2] / 2 - width / 2, 0, row.width - width),
    clamp(box[1] + box[3] / 2 - height / 2, 0, row.height - height), width, height];
}

// Boxes in pixels of the original frame, whatever the size of the picture. A `unit` is one pixel of the screen.
function drawBoxes(node, row, clip, frame, region, unit) {
  const truth = boxAt(clip.truth, frame);
  // Dark edges below all boxes, letters above: no box hides another one that is equal.
  const edges = [], boxes = [], tags = [];
  const add = (box, tint, props) => {
    const [x, y, wide, high] = box;
    const place = { x, y, width: wide, height: high };
    edges.push(svg("rect", { ...place, class: "halo" }));
    boxes.push(svg("rect", { ...place, ...props, class: "box", stroke: tint }));
  };
  if (truth) add(truth, "var(--truth)", { "data-truth": true });
  const said = [truth ? "ground truth" : "no ground truth"];
  for (const place of shownTrackers()) {
    const box = boxAt(clip.tracks[place].box, frame);
    if (!box) continue;
    add(box, boxColour(place), { "data-tracker": place });
    tags.push(boxTag(box, place, unit, region));
    said.push(`${trackers()[place]} at ${box.map((value) => Math.round(value)).join(", ")}`);
  }
  node.setAttribute("aria-label", `Frame ${frame + 1} of ${row.name}: ${said.join("; ")}`);
  node.setAttribute("viewBox", region.map((value) => value.toFixed(2)).join(" "));
  node.dataset.frame = frame;
  node.replaceChildren(...edges, ...boxes, ...tags.filter(Boolean));
}

// The tracker's letter, at another corner of the box for each of four; none where the box is out of sight.
function boxTag([x, y, width, height], place, unit, [left, top, wide, high]) {
  if (x > left + wide || y > top + high || x + width < left || y + height < top) return null;
  const size = TAG * unit;
  const atRight = place % 2 === 1, below = place % 4 > 1;
  const across = clamp(atRight ? Math.max(x + width, x + 2 * size) - size : x, left, Math.max(left, left + wide - size));
  const down = clamp(below ? y + height : y - size, top, Math.max(top, top + high - size));
  return svg("g", { "aria-hidden": "true" },
    svg("rect", { x: across, y: down, width: size, height: size, fill: boxColour(place), class: "tag" }),
    svg("text", { x: across + size / 2, y: down + size * 0.76, "text-anchor": "middle", vars: { "font-size": `${size * 0.76}px` }, class: "tag-text" },
      letter(place)));
}
