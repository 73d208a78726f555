// Overlap and confidence along the frames, and the cursor that is dragged over them.

const TIME = { left: 44, right: 10, top: 15, overlap: 92, gap: 20, confidence: 38, ticks: 11, bottom: 18 };

function makeTimeline(row, clip) {
  const node = svg("svg", {
    class: "timeline", id: "timeline", tabindex: 0, role: "slider", "aria-label": "Frame",
    "aria-valuemin": 1, "aria-valuemax": row.frames,
  });
  const hasConfidence = clip.tracks.some((track) => track.confidence);
  const layout = timeLayout(hasConfidence);
  const view = { row, clip, node, layout, width: 600, segment: null };
  view.x = (frame) => TIME.left + (row.frames > 1 ? frame / (row.frames - 1) : 0.5) * (view.width - TIME.left - TIME.right);

  function redraw() {
    view.width = Math.max(260, node.clientWidth || 600);
    node.setAttribute("viewBox", `0 0 ${view.width} ${layout.height}`);
    node.style.setProperty("height", `${layout.height}px`);
    view.cursor = svg("g", { class: "cursor", "data-cursor": true },
      svg("line", { y1: TIME.top, y2: layout.end }), svg("path", { d: "M-6 0H6V6L0 13L-6 6Z" }));
    node.replaceChildren(...timeSegment(view), ...timeAxes(view), ...timeLines(view), ...pictureTicks(view), view.cursor);
    moveCursor();
  }

  function moveCursor() {
    view.cursor?.setAttribute("transform", `translate(${view.x(state.frame).toFixed(1)} 0)`);
    node.setAttribute("aria-valuenow", state.frame + 1);
    node.setAttribute("aria-valuetext", spokenFrame(clip, state.frame));
  }

  function frameUnder(event) {
    const box = node.getBoundingClientRect();
    const across = (event.clientX - box.left) * (view.width / box.width);
    const share = (across - TIME.left) / (view.width - TIME.left - TIME.right);
    return Math.round(clamp(share, 0, 1) * (row.frames - 1));
  }

  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    node.setPointerCapture(event.pointerId);
    choose({ playing: false, frame: frameUnder(event) });
  });
  node.addEventListener("pointermove", (event) => {
    if (node.hasPointerCapture(event.pointerId)) choose({ frame: frameUnder(event) });
  });
  new ResizeObserver(() => { if (node.clientWidth && node.clientWidth !== view.width) redraw(); }).observe(node);
  return { node, redraw, moveCursor, highlight: (segment) => { view.segment = segment; redraw(); } };
}

function timeLayout(hasConfidence) {
  const overlapEnd = TIME.top + TIME.overlap;
  const confidenceStart = overlapEnd + TIME.gap;
  const end = hasConfidence ? confidenceStart + TIME.confidence : overlapEnd;
  return { hasConfidence, overlapEnd, confidenceStart, end, height: end + TIME.ticks + TIME.bottom };
}

function timeAxes(view) {
  const { layout, width } = view;
  const parts = [];
  for (const value of [0, 0.5, 1]) {
    const y = TIME.top + (1 - value) * TIME.overlap;
    parts.push(svg("line", { class: value ? "gridline" : "axis", x1: TIME.left, x2: width - TIME.right, y1: y, y2: y }),
      svg("text", { x: TIME.left - 6, y: y + 4, "text-anchor": "end" }, String(value)));
  }
  parts.push(axisName("IoU", TIME.top + TIME.overlap / 2));
  if (layout.hasConfidence) {
    for (const y of [layout.confidenceStart, layout.end]) {
      parts.push(svg("line", { class: y === layout.end ? "axis" : "gridline", x1: TIME.left, x2: width - TIME.right, y1: y, y2: y }));
    }
    parts.push(svg("text", { x: TIME.left + 2, y: layout.confidenceStart - 5 }, "confidence, share of each tracker's highest"));
  }
  const last = view.row.frames - 1;
  for (const frame of frameMarks(last, width)) {
    parts.push(svg("text", {
      x: view.x(frame), y: layout.height - 5, "text-anchor": frame === last && last ? "end" : "middle",
    }, String(frame + 1)));
  }
  return parts;
}

function axisName(text, y) {
  return svg("text", { x: 10, y, "text-anchor": "middle", transform: `rotate(-90 10 ${y})` }, text);
}

// Frames with a number below them: the first, the last, and round ones between.
function frameMarks(last, width) {
  if (last < 1) return [0];
  const rough = last / Math.max(1, Math.floor(width / 90));
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  const marks = [0];
  for (let number = step; number < last - step * 0.6; number += step) if (number > step * 0.4 + 1) marks.push(number - 1);
  return [...marks, last];
}

function timeSegment(view) {
  if (!view.segment) return [];
  const [start, end] = view.segment;
  const half = view.row.frames > 1 ? (view.x(1) - view.x(0)) / 2 : 6;
  const from = Math.max(TIME.left, view.x(start) - half), to = Math.min(view.width - TIME.right, view.x(end - 1) + half);
  return [svg("rect", { class: "segment", x: from, width: Math.max(2, to - from), y: TIME.top, height: view.layout.end - TIME.top })];
}

function timeLines(view) {
  const { clip, layout } = view;
  const overlapY = (value) => TIME.top + (1 - value) * TIME.overlap;
  const parts = [];
  for (const place of [...shownTrackers()].reverse()) {
    const { overlap, confidence } = clip.tracks[place];
    parts.push(...seriesPaths(view, overlap, overlapY, { stroke: colour(place), "data-overlap": place }, "series"));
    if (!confidence) continue;
    const top = dataset().confidenceTop[place];
    const y = (value) => layout.end - clamp(value / top, 0, 1) * TIME.confidence;
    parts.push(...seriesPaths(view, confidence, y, { stroke: colour(place), "data-confidence": place }, "series thin"));
  }
  return parts;
}

// A line through the known values. Where frames are closer than two pixels: their mean, on a band of their extremes.
function seriesPaths(view, values, y, props, kind) {
  const per = Math.ceil((2 * values.length) / view.width);
  let line = "", band = "", pen = "M";
  for (let start = 0; start < values.length; start += per) {
    const some = [...values.slice(start, start + per)].filter(Number.isFinite);
    if (!some.length) { pen = "M"; continue; }
    const x = view.x(start + (some.length - 1) / 2).toFixed(1);
    line += `${pen}${x} ${y(some.reduce((sum, value) => sum + value, 0) / some.length).toFixed(1)}`;
    band += `M${x} ${y(Math.max(...some)).toFixed(1)}V${y(Math.min(...some)).toFixed(1)}`;
    // A value with no neighbours would not be seen.
    if (pen === "M" && !Number.isFinite(values[start + per])) line += "h1";
    pen = "L";
  }
  const path = svg("path", { ...props, class: kind, d: line });
  return per > 1 ? [svg("path", { class: "band", d: band, stroke: props.stroke }), path] : [path];
}

// Which frames have a picture; nothing where all have.
function pictureTicks(view) {
  const { clip, layout } = view;
  if (!clip.pictures.length || clip.pictures.length === clip.frames) return [];
  const path = clip.pictures.map(({ frame }) => `M${view.x(frame).toFixed(1)} ${layout.end + 3}v6`).join("");
  return [svg("path", { class: "ticks", d: path }, svg("title", {}, "Frames with a picture"))];
}

function spokenFrame(clip, frame) {
  const parts = shownTrackers().map((place) => `${trackers()[place]} IoU ${shown(clip.tracks[place].overlap[frame], 2)}`);
  return [`${frame + 1}`, ...parts].join(", ");
}
