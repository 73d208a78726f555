// The headline scores with their intervals, the differences between trackers, and what is behind them.

function drawSummary() {
  const { metrics, totals, sequences, protocol, convention, leftOut } = dataset();
  const left = leftOut.length ? `, ${leftOut.length} left out` : "";
  byId("facts").textContent =
    `${counted(sequences.length, "sequence")}${left}, protocol ${protocol}, convention ${convention}, percent`;
  const best = metrics.map((_, i) => Math.max(...shownTrackers().map((place) => rounded(totals[place][i].value))));
  const spans = shownTrackers().map((place) => totals[place][0]);
  const scale = forestScale(spans);
  byId("summary").replaceChildren(el("table", { id: "scores" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Tracker"),
      ...metrics.map((name) => el("th", { scope: "col" }, name)),
      spans.some((one) => known(one.low)) ? el("th", { scope: "col" }, `${metrics[0]} and its 95 % interval`) : null)),
    el("tbody", {}, ...shownTrackers().map((place) => el("tr", { "data-tracker": place },
      el("th", { scope: "row" }, el("span", { class: "who" }, badge(place), trackers()[place])),
      ...totals[place].map((total, i) => scoreCell(total, rounded(total.value) === best[i] && shownTrackers().length > 1)),
      spans.some((one) => known(one.low)) ? el("td", {}, forest(totals[place][0], scale, colour(place))) : null)))));
}

// What the scores must not be quoted without.
function drawNotes() {
  byId("notes").replaceChildren(...shownTrackers().flatMap((place) => dataset().notes[place].map((text) =>
    el("p", { class: "caution", "data-tracker": place }, badge(place), el("span", {}, `${trackers()[place]}: ${text}.`)))));
}

const rounded = (value) => (known(value) ? Number(value.toFixed(1)) : -Infinity);

function scoreCell(total, isBest) {
  return el("td", { class: isBest ? "best" : null },
    el("span", { class: "value" }, shown(total.value)),
    known(total.low) ? el("span", { class: "between" }, `${shown(total.low)} to ${shown(total.high)}`) : null,
    known(total.spread) ? el("span", { class: "between" }, `± ${shown(total.spread, 2)} over runs`) : null);
}

// From scores to places in a forest plot of 180 x 22, with some air on both sides.
function forestScale(spans, zero = false) {
  const ends = spans.flatMap((one) => [one.low, one.high, one.value]).filter(known);
  if (zero) ends.push(0);
  const low = Math.min(...ends), high = Math.max(...ends);
  const air = Math.max((high - low) * 0.04, 0.5);
  return (value) => 4 + ((value - low + air) / (high - low + 2 * air)) * 172;
}

function forest(span, scale, tint, zero = false) {
  const bar = known(span.low)
    ? [svg("line", { x1: scale(span.low), x2: scale(span.high), y1: 11, y2: 11, stroke: tint, "stroke-width": 2 }),
      ...[span.low, span.high].map((end) => svg("line", { x1: scale(end), x2: scale(end), y1: 7, y2: 15, stroke: tint, "stroke-width": 2 }))]
    : [];
  return svg("svg", { class: "forest", viewBox: "0 0 180 22", "aria-hidden": "true" },
    zero ? svg("line", { class: "guide", x1: scale(0), x2: scale(0), y1: 0, y2: 22 }) : null, ...bar,
    known(span.value) ? svg("circle", { cx: scale(span.value), cy: 11, r: 4.5, fill: tint }) : null);
}

function drawDifferences() {
  const pairs = dataset().differences.filter((pair) => isShown(pair.first) && isShown(pair.second));
  const box = byId("differences");
  if (!pairs.length) return box.replaceChildren();
  const metric = dataset().metrics[0];
  const scale = forestScale(pairs, true);
  box.replaceChildren(el("div", { class: "card scroll" }, el("table", {},
    el("caption", {}, "Is the difference real? ", el("span", { class: "note" }, "paired bootstrap over the sequences")),
    el("thead", {}, el("tr", {}, ...["Pair", `Difference in ${metric}`, "95 % interval", "", "p"].map((text) =>
      el("th", { scope: "col" }, text)))),
    ...pairs.map((pair) => el("tbody", {},
      el("tr", {},
        el("th", { scope: "row" }, el("span", { class: "who" }, badge(pair.first), el("span", { "aria-hidden": "true" }, "−"), badge(pair.second),
          el("span", { class: "gone" }, `${trackers()[pair.first]} less ${trackers()[pair.second]}`))),
        el("td", {}, el("b", {}, signed(pair.value))),
        el("td", {}, known(pair.low) ? `${signed(pair.low)} to ${signed(pair.high)}` : "–"),
        el("td", {}, forest(pair, scale, "var(--ink)", true)),
        el("td", {}, known(pair.p) ? (pair.p < 0.001 ? "< 0.001" : shown(pair.p, 3)) : "–")),
      el("tr", { class: "verdict" }, el("td", { colspan: 5 }, el("span", {}, verdict(pair)))))))));
}

function verdict(pair) {
  if (!known(pair.low)) return "Too few sequences to say.";
  if (pair.low > 0 || pair.high < 0) {
    const better = pair.low > 0 ? pair.first : pair.second;
    if (pair.p < 0.05) return `${trackers()[better]} is better.`;
    return `${trackers()[better]} seems better, but ${counted(pair.sequences, "sequence")} are too few to be sure.`;
  }
  return `Could be chance, on ${counted(pair.sequences, "sequence")}.`;
}

// By the score that ranks: what it and those beside it are, for whoever sees them for the first time.
const MEANING = {
  AUC: "AUC is the mean height of the success curve, OP50 and OP75 are its heights at an overlap of 0.5 and 0.75; "
    + "Precision and NormPrecision are the heights of the other curves at their dotted lines.",
  AO: "AO is the mean overlap of the frames; SR50 and SR75 are the shares of frames with an overlap above 0.5 and 0.75.",
};

function drawAbout() {
  const { leftOut, metrics, warnings, protocol, convention, sources, runs } = dataset();
  const made = trackers().map((name, place) => [name, sources[place]]).filter(([, source]) => Object.keys(source).length);
  const paragraphs = [
    MEANING[metrics[0]],
    `Scores are in percent, by the rules of protocol ${protocol} as convention ${convention} applies them. `
      + "An interval holds 95 % of the scores that came out when the sequences were drawn again at random, 10,000 times; "
      + "it says what other sequences of the same kind might give. The paired test draws the same sequences for both trackers.",
    "The overlap of a frame in the player is the one that was scored; boxes are drawn as they lie in the result files. "
      + "Frames count from 1, like the lines of those files. Confidence is on each tracker's own scale, here in shares of the highest it gave.",
    leftOut.length ? `Left out for all trackers, since results or ground truth are missing: ${leftOut.join(", ")}.` : null,
    ...trackers().filter((_, place) => runs[place] > 1).map((name) =>
      `${name}: mean of ${runs[trackers().indexOf(name)]} runs, ± their standard deviation; the player shows the first.`),
    ...warnings.map((text) => `Warning: ${text}`),
    ...made.map(([name, source]) => `${name}: ` + [
      source.weights ? `weights ${source.weights}… (SHA-256)` : "no weights",
      source.version ? `tracked by version ${source.version}` : null].filter(Boolean).join(", ") + "."),
    `Made by SeqTrack ${report.version}. Everything is in this file; it asks the network for nothing.`,
  ];
  byId("about").replaceChildren(...paragraphs.filter(Boolean).map((text) => el("p", {}, text)));
}
