"use strict";
// The form of docs/form.md: reads the commands that the page carries as JSON, writes a command line.

/** A word as a shell takes it, in single quotes where it has to be. */
function quoted(word) {
  return /^[\w@%+=:,.\/-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** The words of one option, from what its field holds; none where it is empty. */
function wordsOf(option, field) {
  if (option.flag) return field.checked ? [option.name] : [];
  const text = field.value.trim();
  if (!text) return [];
  // A field of several values is split at blanks, as a shell does; quotes keep a blank.
  const split = option.several || option.words > 1;
  const parts = split ? [...text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)] : [[text, text]];
  const values = parts.map((part) => part.slice(1).find((one) => one !== undefined));
  return option.name ? [option.name, ...values.map(quoted)] : values.map(quoted);
}

function lineOf(command, fields) {
  const named = [];
  const plain = [];
  command.options.forEach((option, number) => {
    (option.name ? named : plain).push(...wordsOf(option, fields[number]));
  });
  return ["seqtrack", command.name, ...plain, ...named].join(" ");
}

function fieldOf(option) {
  if (option.flag) return element("input", { type: "checkbox" });
  if (!option.choices.length || option.several) return element("input", { type: "text" });
  return element(
    "select",
    {},
    element("option", { value: "", textContent: "" }),
    ...option.choices.map((one) => element("option", { value: one, textContent: one })),
  );
}

/** The fields of a command, those that must be given first; the others can be unfolded. */
function show(command, place, line, missing) {
  const fields = command.options.map(fieldOf);
  const update = () => {
    line.textContent = lineOf(command, fields);
    const open = command.options.filter(
      (option, number) => option.required && !wordsOf(option, fields[number]).length,
    );
    missing.textContent = open.length
      ? "Still needed: " + open.map((option) => option.label).join(", ")
      : "";
  };
  const groups = new Map();
  command.options.forEach((option, number) => {
    const field = fields[number];
    field.id = "field-" + number;
    field.addEventListener("input", update);
    const label = element("label", { htmlFor: field.id });
    label.append(element("code", { textContent: option.label }));
    if (option.required) label.append(" (needed)");
    const row = element("div", { className: "form-row" }, label, field);
    row.append(element("small", { textContent: option.help }));
    if (!groups.has(option.group)) groups.set(option.group, []);
    groups.get(option.group).push({ row, required: option.required });
  });
  const parts = [...groups].map(([title, rows], number) => {
    const open = number < 2 || rows.some((one) => one.required);
    return element(
      "details",
      { open },
      element("summary", { textContent: title }),
      ...rows.map((one) => one.row),
    );
  });
  const examples = command.examples.map((words) =>
    element("li", {}, element("code", { textContent: `seqtrack ${command.name} ${words}`.trim() })),
  );
  place.replaceChildren(
    element("p", { textContent: command.what }),
    ...parts,
    ...(examples.length ? [element("h2", { textContent: "Examples" })] : []),
    element("ul", {}, ...examples),
  );
  update();
}

function start() {
  const data = document.getElementById("commands");
  const root = document.getElementById("form");
  if (!data || !root || root.childElementCount) return;
  const commands = JSON.parse(data.textContent);
  const choice = element(
    "select",
    { id: "command" },
    ...commands.map((one) =>
      element("option", { value: one.name, textContent: "seqtrack " + one.name }),
    ),
  );
  const line = element("code", { id: "line" });
  const copy = element("button", { type: "button", textContent: "Copy" });
  const missing = element("p", { id: "missing", role: "status" });
  const place = element("div", {});
  const refresh = () =>
    show(commands.find((one) => one.name === choice.value), place, line, missing);
  choice.addEventListener("change", refresh);
  copy.addEventListener("click", () => {
    navigator.clipboard.writeText(line.textContent).then(() => {
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    });
  });
  root.append(
    element("label", { htmlFor: "command", textContent: "What to do" }),
    choice,
    element("div", { className: "form-line" }, line, copy),
    missing,
    place,
  );
  choice.value = "track";
  refresh();
}

// The theme replaces pages without loading them anew where instant navigation is on.
if (typeof document$ !== "undefined") document$.subscribe(start);
else if (document.readyState !== "loading") start();
else document.addEventListener("DOMContentLoaded", start);
