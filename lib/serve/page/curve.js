// How sure the models are of each target over the frames; a press goes to a frame.

const MARGIN = { left: 30, right: 8, top: 6, bottom: 18 };

export class Curve {
  /** `hooks`: clip(), views(), go(frame) */
  constructor(canvas, hooks) {
    this.canvas = canvas;
    this.hooks = hooks;
    this.pressed = false;
    canvas.addEventListener("pointerdown", (event) => {
      this.pressed = true;
      canvas.setPointerCapture(event.pointerId);
      this.go(event);
    });
    canvas.addEventListener("pointermove", (event) => this.pressed && this.go(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (this.pressed = false));
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  go(event) {
    const { left, width } = this.canvas.getBoundingClientRect();
    const share = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const last = this.hooks.clip().frames - 1;
    this.hooks.go(Math.round(Math.min(1, Math.max(0, share)) * last));
  }

  paint() {
    const clip = this.hooks.clip();
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!clip || !width) return;
    const dots = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * dots);
    this.canvas.height = Math.round(height * dots);
    const pen = this.canvas.getContext("2d");
    pen.scale(dots, dots);
    const style = getComputedStyle(this.canvas);
    // Canvases do not know light-dark(): a property that inherits does.
    const ink = style.color;
    // Ink is dark where the ground is light.
    this.onLight = Number(/\d+/.exec(ink)[0]) < 128;
    const bottom = height - MARGIN.bottom;
    const x = (frame) => MARGIN.left + ((width - MARGIN.left - MARGIN.right) * frame) / Math.max(1, clip.frames - 1);
    const y = (share) => bottom - (bottom - MARGIN.top) * share;
    this.paintAxes(pen, ink, x, y, width, clip);
    for (const view of this.hooks.views()) {
      for (const id of clip.targets) this.paintLine(pen, clip, view, id, x, y);
    }
    this.paintDrawn(pen, ink, clip, x, y);
    pen.strokeStyle = ink;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(x(clip.frame), MARGIN.top);
    pen.lineTo(x(clip.frame), bottom + 4);
    pen.stroke();
  }

  paintAxes(pen, ink, x, y, width, clip) {
    pen.fillStyle = ink;
    pen.strokeStyle = ink;
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.textAlign = "right";
    for (const share of [0, 0.5, 1]) {
      pen.globalAlpha = 0.25;
      pen.beginPath();
      pen.moveTo(MARGIN.left, y(share));
      pen.lineTo(width - MARGIN.right, y(share));
      pen.stroke();
      pen.globalAlpha = 1;
      pen.fillText(share, MARGIN.left - 5, y(share) + 4);
    }
    pen.textAlign = "left";
    pen.fillText("1", x(0), y(0) + 15);
    pen.textAlign = "right";
    pen.fillText(clip.frames, x(clip.frames - 1), y(0) + 15);
  }

  paintLine(pen, clip, view, id, x, y) {
    const frames = [...clip.found[view].keys()].filter((one) => clip.foundAt(view, one, id)).sort((a, b) => a - b);
    const chosen = id === clip.selected;
    pen.strokeStyle = pen.fillStyle = clip.colour(id, this.onLight);
    pen.lineWidth = chosen ? 2.5 : 1.5;
    pen.setLineDash(view ? [5, 4] : []);
    pen.beginPath();
    let before = null;
    for (const frame of frames) {
      const { confidence } = clip.foundAt(view, frame, id);
      const gap = before === null || frame !== before + 1;
      if (confidence != null) pen[gap ? "moveTo" : "lineTo"](x(frame), y(confidence));
      before = confidence == null ? null : frame;
    }
    pen.stroke();
    pen.setLineDash([]);
    // Where it is not tracked for sure: marks at the foot, higher for lost.
    for (const frame of frames) {
      const { state } = clip.foundAt(view, frame, id);
      if (state === "lost") pen.fillRect(x(frame) - 1.5, y(0) - 10, 3, 10);
      else if (state === "uncertain") pen.fillRect(x(frame) - 1.5, y(0) - 4, 3, 4);
    }
  }

  paintDrawn(pen, ink, clip, x, y) {
    for (const [frame, some] of clip.drawn) {
      for (const id of some.keys()) {
        pen.fillStyle = clip.colour(id, this.onLight);
        pen.strokeStyle = ink;
        pen.lineWidth = 1;
        pen.beginPath();
        for (const [dx, dy] of [[0, -5], [5, 0], [0, 5], [-5, 0]]) pen.lineTo(x(frame) + dx, y(1) + 4 + dy);
        pen.closePath();
        pen.fill();
        pen.stroke();
      }
    }
  }
}
