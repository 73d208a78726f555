// What is chosen on the page, and who wants to hear of it.

const report = readBlock("report");
const state = { dataset: 0, hidden: new Set(), sequence: -1, frame: 0, metric: 0, playing: false, zoom: false };
const listeners = [];

// Call `listener` whenever one of the named choices changes.
function watch(names, listener) {
  listeners.push([names, listener]);
}

function choose(changes) {
  const changed = Object.keys(changes).filter((name) => state[name] !== changes[name]);
  Object.assign(state, changes);
  if (!changed.length) return;
  for (const [names, listener] of listeners) {
    if (names.some((name) => changed.includes(name))) listener();
  }
}

const dataset = () => report.datasets[state.dataset];
const trackers = () => dataset().trackers;
const isShown = (place) => !state.hidden.has(trackers()[place]);
const shownTrackers = () => trackers().map((_, place) => place).filter(isShown);
const sequenceRow = () => dataset().sequences[state.sequence];

function toggleTracker(place) {
  const hidden = new Set(state.hidden);
  const name = trackers()[place];
  if (!hidden.delete(name)) hidden.add(name);
  choose({ hidden });
}

function chooseDataset(place) {
  // The frame and the sequence are of the old data set; nobody may draw them with the new one.
  Object.assign(state, { sequence: -1, frame: 0, playing: false });
  choose({ dataset: place, metric: 0 });
}

function chooseSequence(place, frame = 0) {
  if (place === state.sequence) choose({ frame });
  else {
    Object.assign(state, { frame, playing: false });
    choose({ sequence: place });
  }
}
