// Everything can be done by keys.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TYPED_INTO = "input, select, textarea";
const PRESSED = "button, a, label, summary";

/** `act`: what keys do; see main.js. */
export function addKeys(act) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || !act.ready()) {
      if (event.key === "?" && !event.target.matches(TYPED_INTO)) act.help();
      return;
    }
    const arrow = ARROWS[event.key];
    // A slider and a list have arrows of their own, a button its own Space and Enter.
    if (event.target.matches(TYPED_INTO)) return;
    if (event.target.matches(PRESSED) && (event.key === " " || event.key === "Enter")) return;
    if (keyDone(event, arrow, act)) event.preventDefault();
  });
}

function keyDone(event, arrow, act) {
  if (arrow && act.moving()) {
    const far = event.altKey ? 1 : 4;
    act.nudge(far * arrow[0], far * arrow[1], event.shiftKey);
  } else if (event.altKey) {
    return false;
  } else if (arrow?.[0]) {
    act.step(arrow[0] * (event.shiftKey ? 10 : 1));
  } else if (event.key === "Escape" && act.moving()) {
    act.adjust();
  } else if (/^[1-9]$/.test(event.key)) {
    act.choose(Number(event.key) - 1);
  } else {
    const called = {
      " ": () => act.track(1),
      b: () => act.track(-1),
      n: act.newTarget,
      Enter: act.adjust,
      Home: () => act.show(0),
      End: () => act.show(act.frames() - 1),
      Delete: act.removeTarget,
      Backspace: act.removeTarget,
      "?": act.help,
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!called) return false;
    called();
  }
  return true;
}
