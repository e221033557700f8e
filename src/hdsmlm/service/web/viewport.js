// Moving and zooming a canvas: which part of the sample is on the screen.

/** Position and scale of a view; `nm` per CSS pixel, and the corner of the canvas in nm. */
export class Viewport {
  /** `changed()` is called after each change; canvas gets pointer, wheel and key handling. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.width_nm = this.height_nm = 0;
    this.fitted = true;
    this.nm_per_px = 1;
    this.x0_nm = this.y0_nm = 0;
    this._drag();
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY * 0.0015), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("keydown", (event) => this._key(event));
    new ResizeObserver(() => {
      if (this.fitted) this.fit();
      else this.changed();
    }).observe(canvas);
  }

  /** Set the size of the whole field; the view is fitted when the field is a new one. */
  setField(width_nm, height_nm) {
    if (width_nm === this.width_nm && height_nm === this.height_nm) return;
    this.width_nm = width_nm;
    this.height_nm = height_nm;
    this.fit();
  }

  fit() {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    this.fitted = true;
    if (!w || !h || !this.width_nm) return;
    this.nm_per_px = Math.max(this.width_nm / w, this.height_nm / h) * 1.02;
    this.x0_nm = (this.width_nm - w * this.nm_per_px) / 2;
    this.y0_nm = (this.height_nm - h * this.nm_per_px) / 2;
    this.changed();
  }

  /** Scale by a factor (< 1 is closer) about a point of the canvas in CSS pixels. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const largest = Math.max(this.width_nm, this.height_nm) / 100;
    const next = Math.min(Math.max(this.nm_per_px * factor, 0.2), largest);
    this.x0_nm += x * (this.nm_per_px - next);
    this.y0_nm += y * (this.nm_per_px - next);
    this.nm_per_px = next;
    this.fitted = false;
    this.changed();
  }

  pan(dx_px, dy_px) {
    this.x0_nm -= dx_px * this.nm_per_px;
    this.y0_nm -= dy_px * this.nm_per_px;
    this.fitted = false;
    this.changed();
  }

  _drag() {
    let last = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      last = [event.clientX, event.clientY];
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      this.pan(event.clientX - last[0], event.clientY - last[1]);
      last = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => { last = null; });
    }
  }

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60;
    const arrows = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "+" || event.key === "=") this.zoom(1 / 1.25);
    else if (event.key === "-") this.zoom(1.25);
    else if (event.key === "0") this.fit();
    else if (arrows[event.key] && !event.defaultPrevented) this.pan(...arrows[event.key]);
    else return;
    event.preventDefault();
  }
}

/** Give a canvas as many pixels as it has on the screen; returns its context and the ratio. */
export function sized(canvas) {
  const ratio = globalThis.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  return { context: canvas.getContext("2d"), ratio, width, height };
}

/** Call `run` once before the next picture on the screen, however often it is asked for. */
export function onceAFrame(run) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      run();
    });
  };
}
