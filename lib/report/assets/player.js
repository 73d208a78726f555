// One sequence: its picture, values, controls and timeline, kept in step with the chosen frame.

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const FRAME_MS = 90;
const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z", back: "M11 3v10L4 8z", play: "M4 2.5v11L13.5 8z", pause: "M4 3h3v10H4zM9 3h3v10H9z",
  next: "M5 3v10l7-5z", last: "M11 3h2v10h-2zM3 3v10l7-5z",
};
const player = { clip: null, row: null, speed: 1, segmentPlace: -1, timer: 0 };

function openSequence(place) {
  chooseSequence(place);
  const box = byId("player").getBoundingClientRect();
  if (box.top > innerHeight - 160 || box.bottom < 160) byId("player").scrollIntoView({ block: "start" });
}

async function showSequence() {
  const row = sequenceRow();
  stopPlaying();
  Object.assign(player, { clip: null, row: null, segmentPlace: -1 });
  if (!row) return byId("player").replaceChildren();
  byId("player").setAttribute("aria-busy", "true");
  try {
    const clip = await loadClip(row);
    if (row !== sequenceRow()) return;
    Object.assign(player, { clip, row });
    buildPlayer();
  } catch (error) {
    const old = typeof DecompressionStream === "undefined";
    byId("player").replaceChildren(el("p", { class: "prose" }, old
      ? "This browser is too old to unpack the frames; one of 2024 or later can."
      : `The frames of ${row.name} cannot be read: ${error.message}`));
  }
  byId("player").removeAttribute("aria-busy");
}

function buildPlayer() {
  const { row, clip } = player;
  player.stage = makeStage(row, clip);
  player.timeline = makeTimeline(row, clip);
  player.values = el("ul", { class: "values", id: "values" });
  byId("player").replaceChildren(playerHead(row, clip), player.stage.node, player.values, playerControls(row), player.timeline.node, segmentButtons(clip));
  player.timeline.redraw();
  drawFrame();
}

function playerHead(row, clip) {
  const pictures = clip.pictures.length === row.frames ? "all with a picture" : `${clip.pictures.length} with a picture`;
  const facts = [`${row.width} × ${row.height}`, `${counted(row.frames, "frame")}, ${pictures}`, row.attributes.join(" · ")];
  return el("div", { class: "player-head" },
    el("div", {}, el("h3", { id: "sequence-name" }, row.name), el("p", { class: "note" }, facts.filter(Boolean).join(" · "))),
    el("div", { class: "group" }, button("Previous", () => stepSequence(-1), "Previous sequence (P)"), button("Next", () => stepSequence(1), "Next sequence (N)")));
}

function button(text, action, title, props = {}) {
  return el("button", { type: "button", class: "plain", title, onclick: action, ...props }, text);
}

function iconButton(name, action, title) {
  return el("button", { type: "button", class: "plain icon", title, "aria-label": title, onclick: action, "data-icon": name }, icon(name));
}

const icon = (name) => svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));

function playerControls(row) {
  player.number = el("input", {
    type: "number", id: "frame", min: 1, max: row.frames, "aria-label": "Frame number",
    onchange: (event) => goTo(Number(event.target.value) - 1 || 0),
  });
  player.play = iconButton("play", togglePlaying, "Play (space)");
  const speed = el("select", { "aria-label": "Speed", onchange: (event) => { player.speed = Number(event.target.value); if (state.playing) startPlaying(); } },
    ...SPEEDS.map((value) => el("option", { value, selected: value === player.speed }, `${value}×`)));
  player.zoom = button("Zoom", () => choose({ zoom: !state.zoom }), "A close-up of the target (Z)", { id: "zoom" });
  return el("div", { class: "controls" },
    el("div", { class: "group" }, iconButton("first", () => goTo(0), "First frame (Home)"), iconButton("back", () => stepFrame(-1), "Back one frame (←)"),
      player.play, iconButton("next", () => stepFrame(1), "On one frame (→)"), iconButton("last", () => goTo(row.frames - 1), "Last frame (End)")),
    speed, player.zoom, el("label", { class: "of" }, "Frame", player.number, `of ${row.frames.toLocaleString("en")}`));
}

// Places worth a look, as [segment, what it is]; those of trackers that are switched off are left out.
function segmentChoices(clip) {
  const found = shownTrackers().map((place) => [clip.lowest[place], place]).filter(([segment]) => segment);
  if (clip.widest && shownTrackers().length > 1) found.push([clip.widest, "difference"]);
  return found;
}

function segmentButtons(clip) {
  return el("div", { class: "segments", id: "segments" }, el("span", { class: "note" }, "Jump to"),
    ...segmentChoices(clip).map(([segment, what], i) => {
      const [start, end, mean] = segment;
      const frames = `${start + 1}–${end}`;
      const name = what === "difference" ? "Largest difference" : "Worst";
      return el("button", {
        type: "button", class: "chip", onclick: () => jumpToSegment(i), "data-segment": what,
        title: what === "difference" ? `Frames ${frames}: the best tracker is ${shown(mean, 2)} above the worst`
          : `Frames ${frames}: mean IoU ${shown(mean, 2)}, the lowest of ${trackers()[what]}`,
      }, what === "difference" ? el("span", { class: "badge difference", "aria-hidden": "true" }, "≠") : badge(what),
      el("span", {}, `${name} `, what === "difference" ? null : el("span", { class: "gone" }, `of ${trackers()[what]} `),
        el("small", {}, `${frames} · ${shown(mean, 2)}`)));
    }));
}

function jumpToSegment(i) {
  const [segment] = segmentChoices(player.clip)[i];
  player.segmentPlace = i;
  player.timeline.highlight(segment);
  // Its first frame that can be seen, if any.
  const seen = player.clip.pictures.find(({ frame }) => frame >= segment[0] && frame < segment[1]);
  choose({ playing: false, frame: seen?.frame ?? segment[0] });
}

function jumpToNextSegment() {
  const count = player.clip ? segmentChoices(player.clip).length : 0;
  if (count) jumpToSegment((player.segmentPlace + 1) % count);
}

// Trackers were switched: what hangs on them is made anew, the frame stays.
function redrawPlayer() {
  if (!player.clip) return;
  player.segmentPlace = -1;
  byId("segments").replaceWith(segmentButtons(player.clip));
  player.timeline.highlight(null);
  drawFrame();
}

function drawFrame() {
  const { clip, stage, timeline, number, values } = player;
  if (!clip) return;
  const frame = state.frame;
  stage.draw(frame);
  timeline.moveCursor();
  number.value = frame + 1;
  player.zoom.setAttribute("aria-pressed", state.zoom ? "true" : "false");
  values.replaceChildren(
    el("li", {}, el("span", { class: "badge truth", "aria-hidden": "true" }, "GT"), "ground truth",
      boxAt(clip.truth, frame) ? null : el("small", {}, "no box in this frame")),
    ...shownTrackers().map((place) => {
      const { overlap, confidence } = clip.tracks[place];
      return el("li", { "data-tracker": place }, badge(place), el("span", { class: "chip-name" }, trackers()[place]),
        el("span", {}, el("small", {}, "IoU "), el("b", {}, shown(overlap[frame], 2))),
        confidence ? el("span", {}, el("small", {}, "confidence "), shown(confidence[frame], 2)) : null);
    }));
}

function goTo(frame) {
  if (player.row) choose({ playing: false, frame: clamp(frame, 0, player.row.frames - 1) });
}

const stepFrame = (by) => goTo(state.frame + by);

function stepSequence(by) {
  const places = visiblePlaces();
  if (places.length) chooseSequence(places[(places.indexOf(state.sequence) + by + places.length) % places.length]);
}

// The next frame with a picture, or -1: playing goes from picture to picture.
function nextShown(frame) {
  const { clip, row } = player;
  if (!clip.pictures.length) return frame + 1 < row.frames ? frame + 1 : -1;
  return clip.pictures.find((picture) => picture.frame > frame)?.frame ?? -1;
}

function previousShown(frame) {
  const before = player.clip.pictures.filter((picture) => picture.frame < frame);
  return before.length ? before[before.length - 1].frame : -1;
}

function togglePlaying() {
  if (!player.clip) return;
  if (!state.playing && nextShown(state.frame) < 0) choose({ frame: 0 });
  choose({ playing: !state.playing });
}

function startPlaying() {
  clearInterval(player.timer);
  player.timer = setInterval(() => {
    const next = player.clip ? nextShown(state.frame) : -1;
    choose(next < 0 ? { playing: false } : { frame: next });
  }, FRAME_MS / player.speed);
}

function stopPlaying() {
  clearInterval(player.timer);
}

function followPlaying() {
  if (state.playing) startPlaying();
  else stopPlaying();
  if (!player.play) return;
  player.play.replaceChildren(icon(state.playing ? "pause" : "play"));
  const title = state.playing ? "Pause (space)" : "Play (space)";
  player.play.setAttribute("title", title);
  player.play.setAttribute("aria-label", title);
}
