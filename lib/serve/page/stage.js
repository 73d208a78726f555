// The picture of a view with its boxes; boxes are drawn, moved and resized on it by pointer.

const HANDLE = 8; // half the side of a corner's reach, in pixels of the screen

export class Stage {
  /**
   * @param canvas of the view
   * @param view its number
   * @param hooks clip(), change(box, ended), pick(id), cancel()
   */
  constructor(canvas, view, hooks) {
    this.canvas = canvas;
    this.view = view;
    this.hooks = hooks;
    this.picture = null;
    this.frame = 0;
    this.drag = null;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => this.stop());
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  show(picture, frame) {
    this.picture = picture;
    this.frame = frame;
    this.paint();
  }

  /** Pixels of the screen for one of the clip, and where the picture begins in the canvas. */
  place() {
    const { width, height } = this.hooks.clip();
    const rect = this.canvas.getBoundingClientRect();
    const scale = Math.min(rect.width / width, rect.height / height) || 1;
    return { scale, left: (rect.width - scale * width) / 2, top: (rect.height - scale * height) / 2, rect };
  }

  paint() {
    const clip = this.hooks.clip();
    if (!clip) return;
    this.canvas.style.aspectRatio = `${clip.width} / ${clip.height}`;
    const { scale, left, top, rect } = this.place();
    const dots = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(rect.width * dots), Math.round(rect.height * dots)];
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, rect.width, rect.height);
    if (this.picture) pen.drawImage(this.picture, left, top, scale * clip.width, scale * clip.height);
    const at = ([x, y, w, h]) => [left + scale * x, top + scale * y, scale * w, scale * h];
    for (const id of clip.targets) {
      const shown = clip.shown(this.view, this.frame, id);
      if (shown) this.paintBox(pen, at(shown.box), clip.colour(id), id, shown, id === clip.selected);
    }
    if (this.drag?.box && this.drag.kind === "new") this.paintBox(pen, at(this.drag.box), "#ffffff", "", {}, false);
  }

  paintBox(pen, [x, y, w, h], colour, id, { state, confidence, drawn }, selected) {
    pen.lineJoin = "round";
    pen.setLineDash(state === "lost" ? [3, 5] : state === "uncertain" ? [9, 5] : []);
    for (const [ink, width] of [["#000000", selected ? 5 : 4], [colour, selected ? 3 : 2]]) {
      pen.strokeStyle = ink;
      pen.lineWidth = width;
      pen.strokeRect(x, y, w, h);
    }
    pen.setLineDash([]);
    if (selected) {
      for (const [cx, cy] of [[x, y], [x + w, y], [x, y + h], [x + w, y + h]]) {
        pen.fillStyle = "#000000";
        pen.fillRect(cx - 5, cy - 5, 10, 10);
        pen.fillStyle = colour;
        pen.fillRect(cx - 3.5, cy - 3.5, 7, 7);
      }
    }
    const sure = drawn || confidence == null ? "" : ` ${confidence.toFixed(2)}`;
    const words = `${id}${sure}${state && state !== "tracked" ? ` ${state}` : ""}`;
    if (!words) return;
    pen.font = "600 13px system-ui, sans-serif";
    const width = pen.measureText(words).width + 10;
    const right = this.canvas.getBoundingClientRect().width;
    const left = Math.max(0, Math.min(x, right - width));
    const top = y >= 20 ? y - 20 : Math.max(0, y);
    pen.fillStyle = colour;
    pen.fillRect(left, top, width, 18);
    pen.fillStyle = "#000000";
    pen.fillText(words, left + 5, top + 13.5);
  }

  point(event) {
    const { scale, left, top, rect } = this.place();
    return [(event.clientX - rect.left - left) / scale, (event.clientY - rect.top - top) / scale];
  }

  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const clip = this.hooks.clip();
    const start = this.point(event);
    const shown = clip.selected && !clip.pending ? clip.shown(this.view, this.frame, clip.selected) : null;
    this.drag = { kind: "new", start, box: null, first: shown?.box };
    if (shown) {
      const [x, y, w, h] = shown.box;
      const reach = (HANDLE * (event.pointerType === "touch" ? 2 : 1)) / this.place().scale;
      const near = (one, other) => Math.abs(one - other) <= reach;
      const left = near(start[0], x);
      const top = near(start[1], y);
      if ((left || near(start[0], x + w)) && (top || near(start[1], y + h))) {
        this.drag.kind = "corner";
        // The corner across stays where it is.
        this.drag.anchor = [left ? x + w : x, top ? y + h : y];
      } else if (start[0] > x && start[0] < x + w && start[1] > y && start[1] < y + h) {
        this.drag.kind = "move";
      }
    }
  }

  move(event) {
    if (!this.drag) return;
    const [px, py] = this.point(event);
    const { kind, start, first, anchor } = this.drag;
    if (kind === "move") {
      this.drag.box = [first[0] + px - start[0], first[1] + py - start[1], first[2], first[3]];
    } else {
      const [ax, ay] = anchor ?? start;
      this.drag.box = [Math.min(ax, px), Math.min(ay, py), Math.abs(px - ax), Math.abs(py - ay)];
    }
    const far = Math.hypot(px - start[0], py - start[1]) * this.place().scale > 4;
    this.drag.far ||= far;
    if (this.drag.far && kind !== "new") this.hooks.change(this.drag.box, this.frame);
    this.paint();
  }

  release(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (!drag.far) {
      const [px, py] = this.point(event);
      const clip = this.hooks.clip();
      const hit = clip.targets.find((id) => {
        const box = clip.shown(this.view, this.frame, id)?.box;
        return box && px >= box[0] && px <= box[0] + box[2] && py >= box[1] && py <= box[1] + box[3];
      });
      if (hit) this.hooks.pick(hit);
    } else if (drag.kind === "new") {
      this.hooks.change(drag.box, this.frame);
    }
    this.paint();
  }

  stop() {
    this.drag = null;
    this.paint();
  }
}
