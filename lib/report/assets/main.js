// Puts the page together and keeps its parts in step.

const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "seqtrack-report-theme";

function drawTabs() {
  const box = byId("datasets");
  box.hidden = report.datasets.length < 2;
  box.replaceChildren(...report.datasets.map(({ name }, place) => el("button", {
    type: "button", "aria-pressed": place === state.dataset ? "true" : "false", onclick: () => openDataset(place),
  }, name)));
}

function openDataset(place) {
  if (place === state.dataset) return;
  filterText = "";
  chooseDataset(place);
  chooseSequence(0);
}

function drawSwitches() {
  byId("trackers").replaceChildren(...trackers().map((name, place) => {
    const on = isShown(place);
    return el("button", {
      type: "button", class: "chip", "aria-pressed": on ? "true" : "false", "data-switch": place,
      title: on ? `Hide ${name}` : `Show ${name}`,
      onclick: () => {
        toggleTracker(place);
        byId("trackers").children[place].focus();
      },
    }, badge(place), el("span", { class: "chip-name" }, name));
  }));
}

function storedTheme() {
  try {
    return THEMES.includes(localStorage.getItem(THEME_KEY)) ? localStorage.getItem(THEME_KEY) : "auto";
  } catch {
    return "auto"; // a browser may keep files from storing anything
  }
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[theme];
  try {
    localStorage.setItem(THEME_KEY, theme);
  } catch {
    // It is then as the system has it the next time.
  }
}

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

function drawFigures() {
  drawSwitches();
  drawSummary();
  drawNotes();
  drawDifferences();
  drawCurves();
  drawAttributes();
}

function drawPage() {
  drawTabs();
  drawFigures();
  drawAbout();
  drawList();
}

function start() {
  byId("title").textContent = report.title;
  setTheme(storedTheme());
  byId("theme").addEventListener("click", nextTheme);
  setUpKeys();
  watch(["dataset"], drawPage);
  watch(["hidden"], () => { drawFigures(); drawRows(); redrawPlayer(); });
  watch(["metric"], drawRows);
  watch(["sequence"], () => { markRow(); showSequence(); });
  watch(["frame", "zoom"], drawFrame);
  watch(["playing"], followPlaying);
  drawPage();
  chooseSequence(0);
}

start();
