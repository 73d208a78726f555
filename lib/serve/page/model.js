// What is known of a clip: targets, the boxes that were drawn, and what each view's model found.

// On pictures and dark ground, and the same on light ground.
const COLOURS = ["#40c4ff", "#ffb300", "#ff5c8a", "#7ee787", "#c792ff", "#ff8a50", "#4dd0b5", "#f2e34c"];
const DARK_COLOURS = ["#00709f", "#9a5b00", "#c01850", "#2a7a34", "#6a35c9", "#b0410c", "#00756a", "#766600"];

export class Clip {
  constructor(facts) {
    Object.assign(this, facts);
    this.frames ??= 1;
    this.frame = 0;
    this.targets = []; // ids, in the order in which they joined
    this.selected = null;
    this.pending = true; // the next box that is drawn is a new target's
    this.drawn = new Map(); // frame -> id -> box
    this.stale = new Set(); // drawn boxes that were not tracked from yet, by view and direction
    this.found = [new Map(), new Map()]; // view -> frame -> id -> {box, confidence, state}
  }

  colour(id, onLight = false) {
    return (onLight ? DARK_COLOURS : COLOURS)[this.targets.indexOf(id) % COLOURS.length];
  }

  drawnAt(frame, id) {
    return this.drawn.get(frame)?.get(id);
  }

  foundAt(view, frame, id) {
    return this.found[view].get(frame)?.get(id);
  }

  /** The box of a target that is shown in a frame, and whether it was drawn there. */
  shown(view, frame, id) {
    const box = this.drawnAt(frame, id);
    const found = this.foundAt(view, frame, id);
    if (box) return { box, drawn: true, confidence: 1, state: found?.state ?? null };
    return found ? { ...found, drawn: false } : null;
  }

  begin() {
    let number = 1;
    while (this.targets.includes(String(number))) number += 1;
    this.targets.push(String(number));
    this.selected = String(number);
    this.pending = false;
    return this.selected;
  }

  draw(box) {
    const id = this.pending || !this.selected ? this.begin() : this.selected;
    if (!this.drawn.has(this.frame)) this.drawn.set(this.frame, new Map());
    this.drawn.get(this.frame).set(id, box);
    for (const view of [0, 1]) for (const sign of [-1, 1]) this.stale.add(`${view} ${sign} ${this.frame} ${id}`);
  }

  remove(id) {
    this.targets = this.targets.filter((one) => one !== id);
    for (const frames of [this.drawn, ...this.found]) for (const some of frames.values()) some.delete(id);
    this.selected = this.targets.at(-1) ?? null;
    this.pending = this.targets.length === 0;
  }

  keep(view, event) {
    const some = this.found[view].get(event.frame) ?? new Map();
    for (const { target, box, confidence, state } of event.rows) some.set(String(target), { box, confidence, state });
    this.found[view].set(event.frame, some);
    this.frames = Math.max(this.frames, event.frame + 1);
  }

  /** What to track in a view from the frame on; null where all of it is tracked already. */
  order(view, sign) {
    const all = [...this.drawn].filter(([, some]) => some.size).map(([frame]) => frame);
    const nothing = ![...this.found[view].values()].some((some) => some.size);
    let start = this.frame;
    // A model that has found nothing yet begins where the first box was drawn.
    if (nothing && !this.drawn.get(start)?.size && all.length) start = sign > 0 ? Math.min(...all) : Math.max(...all);
    const next = start + sign;
    const within = next >= 0 && next < this.frames;
    const fresh = this.targets.filter((id) => {
      const known = this.foundAt(view, start, id) && (!within || this.foundAt(view, next, id));
      return this.drawnAt(start, id) && (!known || this.stale.has(`${view} ${sign} ${start} ${id}`));
    });
    const others = this.targets.filter(
      (id) => !this.drawnAt(start, id) && this.foundAt(view, start, id) && !this.foundAt(view, next, id),
    );
    if (!fresh.length && !(others.length && within)) return null;
    const boxes = {};
    for (const [frame, some] of this.drawn) {
      if (sign * frame < sign * start) continue;
      for (const [id, box] of some) {
        const wanted = fresh.includes(id) || others.includes(id) || (nothing && frame !== start);
        if (wanted) (boxes[frame] ??= {})[id] = box;
      }
    }
    return { frame: start, boxes, others, backward: sign < 0 };
  }

  /** Forget what was found beyond the start of an order: it is going to be found anew. */
  forget(view, order) {
    const sign = order.backward ? -1 : 1;
    const ids = new Set([...order.others, ...Object.values(order.boxes).flatMap(Object.keys)]);
    for (const [frame, some] of Object.entries(order.boxes)) {
      for (const id of Object.keys(some)) this.stale.delete(`${view} ${sign} ${frame} ${id}`);
    }
    for (const [frame, some] of this.found[view]) {
      if (sign * frame > sign * order.frame) for (const id of ids) some.delete(id);
    }
  }

  clampBox([x, y, w, h]) {
    const width = Math.min(Math.max(w, 2), this.width);
    const height = Math.min(Math.max(h, 2), this.height);
    const left = Math.min(Math.max(x, 0), this.width - width);
    const top = Math.min(Math.max(y, 0), this.height - height);
    return [left, top, width, height].map((value) => Math.round(value * 100) / 100);
  }
}
