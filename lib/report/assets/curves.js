// Success, precision and normalised precision as plots that can be read, and bars of attributes.

const PLOT = { width: 420, height: 270, left: 38, right: 10, top: 8, bottom: 40 };

function drawCurves() {
  byId("curves").replaceChildren(...dataset().curves.map(curveCard));
}

function curveCard(curve) {
  const order = [...shownTrackers()].sort((a, b) => (curve.headline[b] ?? -1) - (curve.headline[a] ?? -1));
  const tip = el("div", { class: "tip", hidden: true });
  const picture = curvePlot(curve, order);
  const card = el("div", { class: "card curve", "data-curve": curve.id },
    el("h3", {}, curve.title), picture.node, tip, curveLegend(curve, order));
  const live = el("p", { class: "gone", "aria-live": "polite" });
  card.append(live);
  followPointer(curve, order, picture, tip, live);
  return card;
}

function curveLegend(curve, order) {
  return el("ul", { class: "legend" }, ...order.map((place) =>
    el("li", { class: "row" }, swatch(place), el("span", { title: trackers()[place] }, trackers()[place]),
      el("span", {}, el("small", {}, curve.headlineName + " "), el("b", {}, shown(curve.headline[place]))))));
}

// The scales of a plot, its node and the marks that follow the pointer.
function curvePlot(curve, order) {
  const { width, height, left, right, top, bottom } = PLOT;
  const end = curve.x[curve.x.length - 1];
  const x = (value) => left + (value / end) * (width - left - right);
  const y = (value) => top + (1 - value / 100) * (height - top - bottom);
  const guide = svg("line", { class: "guide", y1: y(0), y2: y(100), visibility: "hidden" });
  const dots = order.map((place) => svg("circle", { r: 3.6, fill: colour(place), visibility: "hidden" }));
  const lines = [...order].reverse().map((place) => svg("path", {
    class: "line", d: linePath(curve, place, x, y), stroke: colour(place),
    "stroke-dasharray": dashes(place), "data-tracker": place,
  }));
  const said = order.map((place) => `${trackers()[place]} ${shown(curve.headline[place])}`).join(", ");
  const node = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
    "aria-label": `${curve.title}, ${curve.headlineName}: ${said || "no tracker is shown"}. Arrow keys read the values.`,
  }, ...plotAxes(curve, x, y, end), curve.mark === null ? null
    : svg("line", { class: "markline", x1: x(curve.mark), x2: x(curve.mark), y1: y(0), y2: y(100) }),
  ...lines, guide, ...dots);
  return { node, x, y, guide, dots };
}

function linePath(curve, place, x, y) {
  let pen = "M";
  return curve.lines[place].map((value, i) => {
    if (!known(value)) return "";
    const step = `${pen}${x(curve.x[i]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
    return step;
  }).join("");
}

function plotAxes(curve, x, y, end) {
  const { width, height, left, right } = PLOT;
  const parts = [];
  for (let value = 0; value <= 100; value += 20) {
    parts.push(svg("line", { class: value ? "gridline" : "axis", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)));
  }
  for (let i = 0; i <= 5; i++) {
    const value = (end * i) / 5;
    parts.push(svg("text", { x: x(value), y: y(0) + 16, "text-anchor": i === 5 ? "end" : "middle" }, String(+value.toFixed(2))));
  }
  parts.push(svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, curve.xLabel),
    svg("text", { x: 11, y: y(50), "text-anchor": "middle", transform: `rotate(-90 11 ${y(50)})` }, curve.yLabel));
  return parts;
}

// Show the values under the pointer, or at the place that the arrow keys went to.
function followPointer(curve, order, picture, tip, live) {
  const { node, x, y, guide, dots } = picture;
  let at = -1;
  const show = (place) => {
    at = clamp(place, 0, curve.x.length - 1);
    const across = x(curve.x[at]);
    guide.setAttribute("x1", across);
    guide.setAttribute("x2", across);
    guide.setAttribute("visibility", "visible");
    order.forEach((tracker, i) => {
      const value = curve.lines[tracker][at];
      dots[i].setAttribute("cx", across);
      dots[i].setAttribute("cy", y(value ?? 0));
      dots[i].setAttribute("visibility", known(value) ? "visible" : "hidden");
    });
    const rows = [...order].sort((a, b) => (curve.lines[b][at] ?? -1) - (curve.lines[a][at] ?? -1));
    tip.replaceChildren(el("div", { class: "note" }, `${curve.xLabel}: ${+curve.x[at].toFixed(2)}`),
      ...rows.map((tracker) => el("div", { class: "row" }, swatch(tracker),
        el("span", {}, trackers()[tracker]), el("b", {}, shown(curve.lines[tracker][at])))));
    tip.hidden = false;
    const values = order.map((tracker) => curve.lines[tracker][at]).filter(known);
    placeTip(tip, node, across / PLOT.width, Math.max(...values, 0) > 50 && Math.min(...values, 100) > 30);
  };
  const hide = () => {
    at = -1;
    tip.hidden = true;
    for (const mark of [guide, ...dots]) mark.setAttribute("visibility", "hidden");
  };
  node.addEventListener("pointermove", (event) => {
    const box = node.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * PLOT.width - PLOT.left) / (PLOT.width - PLOT.left - PLOT.right);
    show(Math.round(clamp(share, 0, 1) * (curve.x.length - 1)));
  });
  node.addEventListener("pointerleave", hide);
  node.addEventListener("blur", hide);
  node.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") hide();
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    show(at < 0 && Number.isFinite(steps[event.key]) ? Math.floor(curve.x.length / 2) : at + steps[event.key]);
    live.textContent = tip.innerText.replaceAll("\n", " ");
  });
}

// Beside the guide, on the side with more room; below the lines where they are high.
function placeTip(tip, node, share, below) {
  const plot = node.getBoundingClientRect();
  const card = node.parentNode.getBoundingClientRect();
  const across = plot.left - card.left + share * plot.width;
  const left = share < 0.5 ? across + 12 : across - tip.offsetWidth - 12;
  tip.style.setProperty("left", `${clamp(left, 4, Math.max(4, card.width - tip.offsetWidth - 4))}px`);
  const down = below ? plot.height * 0.8 - tip.offsetHeight : 10;
  tip.style.setProperty("top", `${plot.top - card.top + Math.max(10, down)}px`);
}

function attributeName({ name, meaning }) {
  return meaning ? `${meaning[0].toUpperCase()}${meaning.slice(1)} (${name})` : name;
}

function drawAttributes() {
  const rows = dataset().attributes;
  byId("attributes-section").hidden = !rows.length;
  byId("attributes-note").textContent = `${dataset().metrics[0]} on the sequences that have each attribute.`;
  byId("attributes").replaceChildren(...rows.map((row) => el("div", { class: "attribute" },
    el("h3", {}, attributeName(row), " ", el("span", { class: "note" }, counted(row.sequences, "sequence"))),
    ...shownTrackers().map((place) => el("div", { class: "barline", "data-tracker": place },
      badge(place),
      el("div", { class: "bars", vars: { "--c": colour(place), "--v": `${row.scores[place] ?? 0}%` } }, el("i")),
      el("span", { "aria-label": `${trackers()[place]} ${shown(row.scores[place])}` }, shown(row.scores[place])))))));
}
