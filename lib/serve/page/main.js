// The page: a clip is loaded, boxes are drawn, models track, and all of it can be saved.

import { Curve } from "./curve.js";
import { addKeys } from "./keys.js";
import { Clip } from "./model.js";
import { Pictures, ask, askJSON, events, save, upload } from "./server.js";
import { Stage } from "./stage.js";

const element = (id) => document.getElementById(id);
const figures = [...document.querySelectorAll(".view")];
const page = {
  clip: null,
  pictures: null,
  runs: null, // controllers of the trackings that are under way
  timer: null, // of playing
  wanted: null, // frame whose picture is asked for
  loading: false,
  moving: false, // a box is moved by keys
  limits: {},
  models: [],
};

const hooks = {
  clip: () => page.clip,
  views,
  go: (frame) => {
    halt();
    show(frame);
  },
  pick: (id) => choose(id),
  change: (box) => change(box),
};
const stages = figures.map((figure, view) => new Stage(figure.querySelector("canvas"), view, hooks));
const curve = new Curve(element("curve"), hooks);

function say(words, bad = false) {
  element("status").textContent = words;
  element("status").classList.toggle("error", bad);
}

const fail = (error) => error.name !== "AbortError" && say(error.message, true);

function views() {
  return element("model-1").value ? [0, 1] : [0];
}

// ---- a clip ----

async function begin(load) {
  say("Loading …");
  for (const one of ["sample", "file"]) element(one).disabled = true;
  try {
    open(await load());
  } catch (error) {
    fail(error);
  } finally {
    for (const one of ["sample", "file"]) element(one).disabled = false;
    element("file").value = "";
    element("progress").hidden = true;
  }
}

function sendFile(file) {
  if (!file) return;
  const { megabytes } = page.limits;
  if (file.size > megabytes * 1e6) {
    say(`${file.name} has ${(file.size / 1e6).toFixed(0)} MB; at most ${megabytes} MB are taken (--max-mb)`, true);
    return;
  }
  element("progress").hidden = false;
  begin(() => upload(file, (share) => (element("progress").value = share)));
}

function open(facts) {
  page.clip = new Clip(facts);
  page.pictures = new Pictures(facts.id);
  element("start").hidden = true;
  element("work").hidden = false;
  element("other").hidden = false;
  const { name, width, height, fps, frames } = facts;
  element("clip").textContent = `${name} · ${width} × ${height} · ${frames ?? "?"} frames · ${fps} frames/s`;
  say(facts.suggested ? "Press Enter to take the box of the sample, or drag one." : "");
  update();
  show(0);
  figures[0].querySelector("canvas").focus({ preventScroll: true });
}

function close() {
  if (!page.clip) return;
  halt();
  navigator.sendBeacon(`sessions/${page.clip.id}/end`);
  page.clip = null;
  element("start").hidden = false;
  element("work").hidden = true;
  element("other").hidden = true;
  element("clip").textContent = "";
  say("");
}

// ---- frames ----

/** Show a frame as soon as its picture is there; of several in a row the last one counts. */
async function show(frame) {
  page.wanted = Math.min(Math.max(frame, 0), page.clip.frames - 1);
  if (page.loading) return;
  page.loading = true;
  const { clip, pictures } = page;
  try {
    while (page.wanted !== null && page.clip === clip) {
      const next = page.wanted;
      page.wanted = null;
      const picture = await pictures.get(next);
      if (page.clip !== clip) return;
      clip.frame = next;
      for (const stage of stages) stage.show(picture, next);
      update();
    }
  } catch (error) {
    fail(error);
  } finally {
    page.loading = false;
  }
}

function step(by) {
  halt();
  // Several presses before the picture is there count.
  show((page.wanted ?? page.clip.frame) + by);
}

/** End what plays or tracks; whether anything did. */
function halt() {
  const busy = Boolean(page.runs || page.timer);
  clearInterval(page.timer);
  page.timer = null;
  for (const run of page.runs ?? []) run.abort();
  page.runs = null;
  if (busy) update();
  return busy;
}

function play() {
  const { clip } = page;
  page.timer = setInterval(() => {
    if (clip.frame + 1 >= clip.frames) halt();
    else if (!page.loading) show(clip.frame + 1);
  }, 1000 / Math.min(clip.fps, 60));
  update();
}

// ---- boxes ----

function change(box) {
  halt();
  page.clip.draw(page.clip.clampBox(box));
  update();
}

function choose(id) {
  page.clip.selected = id;
  page.clip.pending = false;
  update();
}

function newTarget() {
  if (page.clip.targets.length >= page.limits.targets) {
    say(`At most ${page.limits.targets} targets are tracked (--max-targets)`, true);
    return;
  }
  halt();
  page.moving = false;
  page.clip.pending = true;
  figures[0].querySelector("canvas").focus({ preventScroll: true });
  update();
}

/** Begin to move a box by keys, placing one where there is none; or end it. */
function adjust() {
  const { clip } = page;
  halt();
  page.moving = !page.moving;
  if (page.moving) {
    const there = clip.pending || !clip.selected ? null : clip.shown(0, clip.frame, clip.selected);
    const middle = [0.375 * clip.width, 0.375 * clip.height, 0.25 * clip.width, 0.25 * clip.height];
    const suggested = clip.frame === 0 && !clip.targets.length ? clip.suggested : null;
    change(there?.box ?? suggested ?? middle);
    figures[0].querySelector("canvas").focus({ preventScroll: true });
  }
  update();
}

function nudge(dx, dy, size) {
  const [x, y, w, h] = page.clip.shown(0, page.clip.frame, page.clip.selected).box;
  change(size ? [x, y, w + dx, h + dy] : [x + dx, y + dy, w, h]);
}

async function removeTarget(id = page.clip.selected) {
  if (!id) return;
  halt();
  page.moving = false;
  page.clip.remove(id);
  update();
  const path = `sessions/${page.clip.id}/targets/${encodeURIComponent(id)}`;
  await ask(path, { method: "DELETE" }).catch(fail);
}

// ---- tracking ----

/** Track on, forward (1) or back (-1); pause what is under way; play what is tracked already. */
async function track(sign) {
  if (halt()) return say("Paused.");
  page.moving = false;
  const { clip } = page;
  const orders = views().map((view) => clip.order(view, sign));
  if (orders.every((order) => order === null)) {
    if (!clip.targets.length) say("Draw a box first: drag it over what is to be followed.", true);
    else if (sign > 0 && clip.frame + 1 < clip.frames) play();
    else say("Nothing is left to track in this direction.");
    return;
  }
  const runs = orders.map(() => new AbortController());
  const reached = new Map();
  page.runs = runs;
  update();
  say("Tracking …");
  const began = performance.now();
  const work = orders.map(async (order, view) => {
    if (!order) return;
    const asked = { ...order, model: element(`model-${view}`).value };
    clip.forget(view, order);
    for await (const event of events(`sessions/${clip.id}/track`, asked, runs[view].signal)) {
      if (event.done || page.runs !== runs) break;
      clip.keep(view, event);
      reached.set(view, event.frame);
      const all = [...reached.values()];
      show(sign > 0 ? Math.min(...all) : Math.max(...all));
      const rate = (1000 * Math.abs(event.frame - order.frame)) / (performance.now() - began);
      say(`Tracking frame ${event.frame + 1} of ${clip.frames} · ${rate.toFixed(rate < 10 ? 1 : 0)} frames/s`);
    }
    reached.delete(view);
  });
  const ends = await Promise.allSettled(work);
  const wrong = ends.find((end) => end.status === "rejected" && end.reason.name !== "AbortError");
  if (page.runs === runs) {
    page.runs = null;
    say(wrong ? wrong.reason.message : "Tracked. Correct a box where it is wrong, and track on from there.", Boolean(wrong));
    for (const run of runs) run.abort();
  }
  if (page.clip) update();
}

// ---- what is seen ----

function update() {
  const { clip } = page;
  if (!clip) return;
  const busy = Boolean(page.runs || page.timer);
  element("track").textContent = busy ? "Pause" : "Track";
  element("track-back").disabled = busy;
  element("frame").max = clip.frames - 1;
  element("frame").value = clip.frame;
  element("where").textContent = `Frame ${clip.frame + 1} of ${clip.frames}`;
  element("adjust").setAttribute("aria-pressed", page.moving);
  figures[1].hidden = views().length < 2;
  figures.forEach((figure, view) => (figure.querySelector("figcaption").textContent = views().length < 2 ? "" : element(`model-${view}`).value));
  element("hint").textContent = hint();
  updateTargets();
  updateLegend();
  for (const stage of stages) stage.paint();
  curve.paint();
}

function hint() {
  const { clip } = page;
  if (page.moving) return "Arrows move the box, with Shift they change its size, with Alt by one pixel. Enter ends.";
  const keys = matchMedia("(hover: hover)").matches;
  if (page.runs) return keys ? "Space pauses." : "";
  if (clip.pending) return `Drag a box over the target${keys ? ", or press Enter to place one" : ""}.`;
  return `Drag a box anew to correct it.${keys ? " Space tracks on from here. N adds a target." : ""}`;
}

function updateTargets() {
  const { clip } = page;
  const list = element("targets");
  element("no-target").hidden = clip.targets.length > 0;
  // Made anew only where targets come and go, so that the focus stays.
  const there = [...list.children].map((item) => item.dataset.target);
  if (there.join() !== clip.targets.join()) list.replaceChildren(...clip.targets.map(targetItem));
  for (const item of list.children) {
    const id = item.dataset.target;
    item.querySelector(".pick").setAttribute("aria-pressed", id === clip.selected && !clip.pending);
    item.querySelector(".dot").style.background = clip.colour(id);
    item.querySelector(".values").replaceChildren(...views().map((view) => valuesOf(view, id)));
  }
}

function targetItem(id) {
  const item = document.createElement("li");
  item.dataset.target = id;
  const pick = document.createElement("button");
  pick.type = "button";
  pick.className = "pick";
  const dot = document.createElement("span");
  dot.className = "dot";
  pick.append(dot, id);
  pick.setAttribute("aria-label", `Target ${id}`);
  pick.onclick = () => choose(id);
  const values = document.createElement("div");
  values.className = "values";
  const away = document.createElement("button");
  away.type = "button";
  away.textContent = "✕";
  away.setAttribute("aria-label", `Delete target ${id}`);
  away.onclick = () => removeTarget(id);
  item.append(pick, values, away);
  return item;
}

function valuesOf(view, id) {
  const shown = page.clip.shown(view, page.clip.frame, id);
  const line = document.createElement("div");
  line.dataset.view = view;
  if (!shown) {
    line.textContent = "not in this frame";
    return line;
  }
  const box = document.createElement("span");
  box.className = "box";
  box.textContent = shown.box.map((value) => value.toFixed(1)).join(", ");
  const state = document.createElement("span");
  state.className = shown.state ?? "";
  state.textContent = shown.drawn ? "drawn" : (shown.state ?? "");
  const sure = shown.drawn || shown.confidence == null ? "" : shown.confidence.toFixed(2);
  const whose = views().length < 2 ? "" : `${element(`model-${view}`).value}: `;
  line.append(whose, state, ` ${sure} `, document.createElement("br"), box);
  return line;
}

function updateLegend() {
  const words = views().length < 2 ? [] : [`— ${element("model-0").value}`, `- - ${element("model-1").value}`];
  words.push("◆ drawn", "▖ uncertain", "▌ lost");
  element("legend").replaceChildren(
    ...words.map((word) => {
      const item = document.createElement("span");
      item.textContent = word;
      return item;
    }),
  );
}

// ---- models and downloads ----

/** Another model begins anew: what the last one found is forgotten here. */
function changeModel(view) {
  halt();
  if (element("model-0").value === element("model-1").value) {
    element("model-1").value = "";
    say("Choose two different models to compare.");
  }
  page.clip?.found[view].clear();
  const chosen = views().map((one) => element(`model-${one}`).value);
  element("save-model").replaceChildren(...[...new Set(chosen)].map((name) => new Option(name, name)));
  update();
  if (page.clip?.targets.length && element(`model-${view}`).value) say("Press Track: this model begins at the first box.");
}

function download(kind, key, value) {
  return async () => {
    const model = element("save-model").value;
    say("Preparing the download …");
    try {
      say(`Saved ${await save(`sessions/${page.clip.id}/${kind}?${new URLSearchParams({ [key]: value(), model })}`)}`);
    } catch (error) {
      fail(error);
    }
  };
}

// ---- at the start ----

function theme(next) {
  const themes = ["auto", "light", "dark"];
  let now = localStorage.getItem("seqtrack-theme") ?? "auto";
  if (next) now = themes[(themes.indexOf(now) + 1) % themes.length];
  localStorage.setItem("seqtrack-theme", now);
  if (now === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
  element("theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[now];
  element("theme").setAttribute("aria-label", `Colours: ${now === "auto" ? "as the system" : now}`);
  curve.paint();
}

function listen() {
  const on = (id, call) => (element(id).onclick = call);
  on("sample", () => begin(() => askJSON("sessions?sample=true", { method: "POST" })));
  on("other", close);
  on("theme", () => theme(true));
  on("help-open", () => element("help").showModal());
  on("track", () => track(1));
  on("track-back", () => track(-1));
  on("back", () => step(-1));
  on("on", () => step(1));
  on("new", newTarget);
  on("adjust", adjust);
  on("save-boxes", download("annotations", "format", () => element("format").value));
  on("save-video", download("video", "suffix", () => element("suffix").value));
  element("file").onchange = () => sendFile(element("file").files[0]);
  element("frame").oninput = () => hooks.go(Number(element("frame").value));
  for (const view of [0, 1]) element(`model-${view}`).onchange = () => changeModel(view);
  const drop = element("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && !page.clip) sendFile(event.dataTransfer.files[0]);
    });
  }
  window.addEventListener("pagehide", close);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => curve.paint());
  addKeys({
    ready: () => page.clip && !element("help").open,
    moving: () => page.moving,
    frames: () => page.clip.frames,
    help: () => element("help").showModal(),
    show: hooks.go,
    step,
    track,
    newTarget,
    adjust,
    nudge,
    removeTarget: () => removeTarget(),
    choose: (place) => page.clip.targets[place] && choose(page.clip.targets[place]),
  });
}

async function start() {
  theme(false);
  listen();
  try {
    [page.limits, page.models] = await Promise.all([askJSON("limits"), askJSON("models")]);
  } catch (error) {
    fail(error);
    return;
  }
  const options = (id, names, first = []) => element(id).replaceChildren(...first, ...names.map((name) => new Option(name, name)));
  options("model-0", page.models);
  options("model-1", page.models, [new Option("nothing", "")]);
  options("save-model", page.models.slice(0, 1));
  options("format", page.limits.annotations);
  options("suffix", page.limits.videos);
  const { megabytes, seconds, pixels } = page.limits;
  element("taken").textContent = `MP4, MOV, MKV, WebM, AVI and others; at most ${megabytes} MB, ${seconds} seconds, ${(pixels / 1e6).toFixed(0)} megapixels.`;
}

start();
