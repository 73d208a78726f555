// Elements, numbers and colours: what every other file uses.

const SVG = "http://www.w3.org/2000/svg";
const SLOTS = 8;
const DASHES = ["none", "7 4", "2 4", "10 4 2 4"];

// An element. `props` holds attributes; `on…` are listeners, `vars` custom properties of its style.
function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    else node.setAttribute(name, value === true ? "" : value);
  }
  // append() makes text of strings: whatever a name holds, it never becomes markup.
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const byId = (id) => document.getElementById(id);

function readBlock(id) {
  return JSON.parse(byId(id).textContent);
}

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const shown = (value, digits = 1) => (known(value) ? value.toFixed(digits).replace("-", "−") : "–");
const signed = (value, digits = 1) => (value > 0 ? "+" : "") + shown(value, digits);
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// A tracker is its place in the list everywhere: its letter, its colour, its dashes.
const letter = (place) => (place < 26 ? String.fromCharCode(65 + place) : String(place + 1));
const colour = (place) => `var(--t${place % SLOTS})`;
const boxColour = (place) => `var(--b${place % SLOTS})`;
const dashes = (place) => DASHES[(place + Math.floor(place / SLOTS)) % DASHES.length];

function badge(place) {
  return el("span", { class: "badge", vars: { "--c": colour(place) }, "aria-hidden": "true" }, letter(place));
}

function swatch(place) {
  return svg("svg", { class: "swatch", viewBox: "0 0 26 8", "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 25, y1: 4, y2: 4, class: "line", stroke: colour(place), "stroke-dasharray": dashes(place) }));
}
