// The keyboard, and the page that lists its keys.

const KEYS = [
  ["← →", "back or on one frame", { ArrowLeft: () => stepFrame(-1), ArrowRight: () => stepFrame(1) }],
  ["Shift ← →", "ten frames", {}],
  ["Home End", "first or last frame", { Home: () => goTo(0), End: () => goTo(Infinity) }],
  [", .", "previous or next frame that has a picture", { ",": () => stepPicture(previousShown), ".": () => stepPicture(nextShown) }],
  ["Space", "play or pause", { " ": () => togglePlaying() }],
  ["W", "next of the segments worth a look", { w: () => jumpToNextSegment() }],
  ["Z", "the whole picture or a close-up of the target", { z: () => choose({ zoom: !state.zoom }) }],
  ["N P", "next or previous sequence, in the order of the table", { n: () => stepSequence(1), p: () => stepSequence(-1) }],
  ["1 … 9", "switch a tracker off or on", {}],
  ["D", "next data set", { d: () => openDataset((state.dataset + 1) % report.datasets.length) }],
  ["T", "light, dark, or as the system has it", { t: () => nextTheme() }],
  ["?", "this list", { "?": () => byId("keys").showModal() }],
];
const ACTIONS = Object.assign({}, ...KEYS.map(([, , actions]) => actions));

function stepPicture(neighbour) {
  const frame = player.clip ? neighbour(state.frame) : -1;
  if (frame >= 0) goTo(frame);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const target = event.target;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // What writes, chooses or presses keeps its own keys.
  if (target.closest("input, select, textarea")) return;
  if (target.closest("button, a") && (key === " " || key === "Enter")) return;
  let action = ACTIONS[key];
  if (event.shiftKey && key === "ArrowLeft") action = () => stepFrame(-10);
  if (event.shiftKey && key === "ArrowRight") action = () => stepFrame(10);
  if (target.id === "timeline" && key === "PageUp") action = () => stepFrame(10);
  if (target.id === "timeline" && key === "PageDown") action = () => stepFrame(-10);
  if (/^[1-9]$/.test(key) && Number(key) <= trackers().length) action = () => toggleTracker(Number(key) - 1);
  // Home, End and space scroll the page unless one is at the player.
  const atPlayer = target.closest("#player") || target.closest("#list");
  if (!action || (["Home", "End", " "].includes(key) && !atPlayer)) return;
  event.preventDefault();
  action();
}

function setUpKeys() {
  document.addEventListener("keydown", onKey);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("keys").replaceChildren(
    el("h2", { id: "keys-heading" }, "Keys"),
    el("dl", {}, ...KEYS.flatMap(([keys, text]) => [
      el("dt", {}, ...keys.split(" ").map((key) => (key === "…" ? "…" : el("kbd", {}, key)))), el("dd", {}, text)])),
    el("p", { class: "note" }, "Home, End and space act when the player or the list has the focus."),
    el("form", { method: "dialog" }, el("button", { class: "plain" }, "Close")));
}
