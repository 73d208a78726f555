// The table of sequences: sorted by any column, filtered by name, one row chosen.

const sorting = { key: "place", down: false };
let filterText = "";

function drawList() {
  const many = dataset().sequences.length > 8;
  const metric = el("select", { id: "metric", onchange: (event) => choose({ metric: Number(event.target.value) }) },
    ...dataset().metrics.map((name, i) => el("option", { value: i, selected: i === state.metric }, name)));
  const filter = el("input", {
    type: "search", id: "filter", placeholder: "Find a sequence", "aria-label": "Find a sequence", value: filterText,
    oninput: (event) => { filterText = event.target.value; drawRows(); },
  });
  byId("sequences-note").textContent = "Choose a sequence to see it; a heading sorts by its column.";
  byId("list").replaceChildren(
    el("div", { class: "filter" }, el("label", { for: "metric" }, "Score"), metric, many ? filter : null),
    el("div", { class: "rows" }, el("table", { id: "table" }, el("thead"), el("tbody"))));
  drawRows();
}

// Columns as [key, heading, value of a row, text of a value].
function listColumns() {
  const places = shownTrackers();
  const score = (row, place) => row.scores[place][state.metric];
  const columns = [
    ["name", "Sequence", (row) => row.name, null],
    ["frames", "Frames", (row) => row.frames, (value) => value.toLocaleString("en")],
    ...places.map((place) => [`t${place}`, place, (row) => score(row, place), shown]),
  ];
  if (places.length === 2) {
    const heading = `${letter(places[0])} − ${letter(places[1])}`;
    columns.push(["gap", heading, (row) => gapOf(score(row, places[0]), score(row, places[1])), signed]);
  } else if (places.length > 2) {
    columns.push(["gap", "Spread", (row) => spreadOf(places.map((place) => score(row, place))), shown]);
  }
  return columns;
}

const gapOf = (a, b) => (known(a) && known(b) ? a - b : null);

function spreadOf(values) {
  const some = values.filter(known);
  return some.length > 1 ? Math.max(...some) - Math.min(...some) : null;
}

function sortedPlaces(columns) {
  const places = dataset().sequences.map((_, i) => i);
  const column = columns.find(([key]) => key === sorting.key);
  if (!column) return places;
  const direction = sorting.down ? -1 : 1;
  const value = (i) => column[2](dataset().sequences[i]);
  return places.sort((a, b) => {
    const one = value(a), other = value(b);
    // What has no score is last, whichever way.
    if (typeof one !== "string" && (!known(one) || !known(other))) return known(other) - known(one) || a - b;
    const order = typeof one === "string" ? one.localeCompare(other, "en", { numeric: true }) : one - other;
    return direction * order || a - b;
  });
}

function drawRows() {
  const columns = listColumns();
  const wanted = filterText.trim().toLowerCase();
  const places = sortedPlaces(columns).filter((i) => dataset().sequences[i].name.toLowerCase().includes(wanted));
  const table = byId("table");
  table.tHead.replaceChildren(el("tr", {}, ...columns.map(listHeading)));
  table.tBodies[0].replaceChildren(...places.map((i) => listRow(i, columns)));
  if (!places.length) {
    table.tBodies[0].append(el("tr", {}, el("td", { colspan: columns.length, class: "note" }, "No sequence is called so.")));
  }
}

function listHeading([key, heading]) {
  const chosen = sorting.key === key;
  const label = typeof heading === "number" ? trackers()[heading] : heading;
  const sort = () => {
    // Names rise first, figures fall first: one looks for the largest.
    const down = chosen ? !sorting.down : key !== "name";
    Object.assign(sorting, { key, down });
    drawRows();
    byId("table").querySelector(`[data-sort="${key}"]`).focus();
  };
  return el("th", { scope: "col", "aria-sort": chosen ? (sorting.down ? "descending" : "ascending") : "none" },
    el("button", { type: "button", class: "sort", "data-sort": key, title: `Sort by ${label}`, onclick: sort },
      typeof heading === "number" ? badge(heading) : heading,
      typeof heading === "number" ? el("span", { class: "gone" }, label) : null,
      el("span", { class: "arrow", "aria-hidden": "true" }, chosen ? (sorting.down ? "▼" : "▲") : "")));
}

function listRow(place, columns) {
  const row = dataset().sequences[place];
  const scores = columns.filter(([key]) => /^t\d/.test(key)).map(([, , value]) => value(row));
  const best = Math.max(...scores.filter(known).map(rounded));
  return el("tr", {
    "data-sequence": row.name, "aria-current": place === state.sequence ? "true" : null,
    onclick: () => openSequence(place),
  }, ...columns.map(([key, heading, value, text]) => {
    if (key === "name") {
      return el("th", { scope: "row" }, el("button", { type: "button", class: "link", title: row.name }, row.name));
    }
    const found = value(row);
    if (!/^t\d/.test(key)) return el("td", {}, text(found));
    return el("td", { class: scores.length > 1 && rounded(found) === best ? "best meter" : "meter",
      vars: { "--c": colour(heading), "--v": `${clamp(found ?? 0, 0, 100)}%` } }, el("span", { class: "value" }, text(found)));
  }));
}

function markRow() {
  const name = sequenceRow()?.name;
  for (const row of byId("table").tBodies[0].rows) {
    const chosen = row.dataset.sequence === name;
    if (chosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
    if (chosen) scrollListTo(row);
  }
}

// Scrolls the list and never the page.
function scrollListTo(row) {
  const list = byId("table").parentNode;
  const head = byId("table").tHead.offsetHeight;
  const top = row.offsetTop - head, bottom = row.offsetTop + row.offsetHeight - list.clientHeight;
  list.scrollTop = Math.max(bottom, Math.min(top, list.scrollTop));
}

// Sequences in the order of the table, for the keys that go to the next one.
function visiblePlaces() {
  const names = [...byId("table").tBodies[0].rows].map((row) => row.dataset.sequence);
  return names.map((name) => dataset().sequences.findIndex((row) => row.name === name)).filter((i) => i >= 0);
}
