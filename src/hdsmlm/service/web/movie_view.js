// Frames of the movie with contrast, and what was found in them on top.

import * as api from "./api.js";
import { MARKS, colormap } from "./colormaps.js";
import { matchNearest } from "./matching.js";
import { RangeSlider } from "./range_slider.js";
import { Viewport, onceAFrame, sized } from "./viewport.js";

const KEPT_FRAMES = 64;
const AHEAD = 4;
const MATCH_PX = 1.5;
const PROBABILITY = colormap("viridis");

/** Frames with overlay. parts: canvas and controls; state: what belongs to the movie on show. */
export class MovieView {
  constructor(parts, table, truth, filters, failed) {
    Object.assign(this, { parts, table, truth, filters, failed });
    this.movie = this.jobId = null;
    this.number = 0;
    this.frames = new Map();
    this.probabilities = new Map();
    this.timer = null;
    this.redraw = onceAFrame(() => this.draw());
    this.view = new Viewport(parts.canvas, this.redraw);
    this.contrast = new RangeSlider(parts.contrast, "Contrast", () => {
      this.auto = false;
      this.redraw();
    });
    this._wire();
  }

  /** Show a movie, or nothing. */
  show(movie, pixel_nm) {
    const isNew = this.movie?.movie_id !== movie?.movie_id;
    this.movie = movie;
    this.pixel_nm = pixel_nm || 100;
    const { slider, play, empty } = this.parts;
    empty.hidden = Boolean(movie);
    slider.disabled = play.disabled = !movie;
    if (!movie) return this.redraw();
    this.view.setField(movie.width * this.pixel_nm, movie.height * this.pixel_nm);
    if (!isNew) return this.redraw();
    this.stop();
    this.frames.clear();
    this.probabilities.clear();
    this.range = null;
    this.auto = true;
    this.contrast.set(0, 1);
    slider.max = movie.frames - 1;
    return this.goTo(0);
  }

  /** Take the count map of a job. */
  setJob(jobId) {
    if (jobId === this.jobId) return;
    this.jobId = jobId;
    this.probabilities.clear();
    this.redraw();
  }

  async goTo(number) {
    if (!this.movie) return;
    this.number = Math.min(Math.max(0, number), this.movie.frames - 1);
    this.parts.slider.value = this.number;
    this.parts.number.textContent = `${this.number} / ${this.movie.frames - 1}`;
    const wanted = this.number;
    try {
      await this._load(wanted);
      if (wanted === this.number) this.redraw();
      for (let ahead = 1; ahead <= AHEAD; ahead++) {
        if (wanted + ahead < this.movie.frames) this._load(wanted + ahead).catch(() => {});
      }
    } catch (error) {
      this.stop();
      this.failed(error);
    }
  }

  play() {
    if (!this.movie) return;
    if (this.timer) return void this.stop();
    if (this.number >= this.movie.frames - 1) this.number = -1;
    this.parts.play.textContent = "Pause";
    this.parts.play.setAttribute("aria-label", "Pause");
    const step = async () => {
      const began = performance.now();
      await this.goTo(this.number + 1);
      if (!this.timer) return;
      if (this.number >= this.movie.frames - 1) return void this.stop();
      const wait_ms = 1000 / Number(this.parts.fps.value) - (performance.now() - began);
      this.timer = setTimeout(step, Math.max(0, wait_ms));
    };
    this.timer = setTimeout(step, 0);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.parts.play.textContent = "Play";
    this.parts.play.setAttribute("aria-label", "Play");
  }

  draw() {
    const { canvas, legend } = this.parts;
    const { context, ratio, width, height } = sized(canvas);
    context.clearRect(0, 0, width, height);
    legend.replaceChildren();
    const frame = this.frames.get(this.number);
    if (!this.movie || !frame || !canvas.clientWidth) return;
    this.range ??= robustRange(frame.pixels);
    const scale = (this.pixel_nm / this.view.nm_per_px) * ratio;
    const place = {
      left: (-this.view.x0_nm / this.view.nm_per_px) * ratio,
      top: (-this.view.y0_nm / this.view.nm_per_px) * ratio,
      scale,
    };
    context.imageSmoothingEnabled = false;
    const area = [place.left, place.top, frame.width * scale, frame.height * scale];
    context.drawImage(this._grey(frame), ...area);
    if (this.parts.showProbability.checked) this._drawProbability(context, frame, area);
    this._drawMarks(context, place, ratio);
  }

  async _load(number) {
    const known = this.frames.get(number);
    if (known) {
      this.frames.delete(number);
      this.frames.set(number, known); // the last used is the last to go
      return known;
    }
    const movieId = this.movie.movie_id;
    const frame = await api.frame(movieId, number);
    if (movieId !== this.movie?.movie_id) return frame;
    this.frames.set(number, frame);
    while (this.frames.size > KEPT_FRAMES) this.frames.delete(this.frames.keys().next().value);
    return frame;
  }

  _grey(frame) {
    const { low, high } = this.range;
    const span = high - low || 1;
    const dark = low + this.contrast.low * span;
    const factor = 255 / ((this.contrast.high - this.contrast.low) * span);
    const image = new ImageData(frame.width, frame.height);
    for (let i = 0, at = 0; i < frame.pixels.length; i++, at += 4) {
      const value = (frame.pixels[i] - dark) * factor;
      image.data[at] = image.data[at + 1] = image.data[at + 2] = value; // the array clamps
      image.data[at + 3] = 255;
    }
    return toCanvas(image);
  }

  _drawProbability(context, frame, area) {
    if (!this.jobId) return;
    const number = this.number;
    const known = this.probabilities.get(number);
    if (known === undefined) {
      this.probabilities.set(number, null);
      api.occupancy(this.jobId, number).then((found) => {
        if (found) this.probabilities.set(number, found);
        else this.probabilities.delete(number);
        if (found && number === this.number) this.redraw();
        if (this.probabilities.size > KEPT_FRAMES) {
          this.probabilities.delete(this.probabilities.keys().next().value);
        }
      }, () => this.probabilities.delete(number));
      return;
    }
    if (!known || known.length !== frame.width * frame.height) return;
    const image = new ImageData(frame.width, frame.height);
    for (let i = 0, at = 0; i < known.length; i++, at += 4) {
      const entry = 3 * known[i];
      image.data[at] = PROBABILITY[entry];
      image.data[at + 1] = PROBABILITY[entry + 1];
      image.data[at + 2] = PROBABILITY[entry + 2];
      image.data[at + 3] = known[i] < 8 ? 0 : 40 + known[i] * 0.45;
    }
    context.drawImage(toCanvas(image), ...area);
  }

  _drawMarks(context, place, ratio) {
    const found = this._points(this.table, this.filters.mask);
    const radius = Math.max(3 * ratio, Math.min(place.scale * 0.55, 9 * ratio));
    const circle = (x, y, color, size = radius) => {
      const px = place.left + (x / this.pixel_nm) * place.scale;
      const py = place.top + (y / this.pixel_nm) * place.scale;
      context.strokeStyle = color;
      context.beginPath();
      context.arc(px, py, size, 0, 2 * Math.PI);
      context.stroke();
    };
    context.lineWidth = 1.6 * ratio;
    const items = [];
    if (this.parts.showTruth.checked && this.truth.length) {
      const truth = this._points(this.truth, null);
      const match = matchNearest(found, truth, MATCH_PX * this.pixel_nm);
      for (const [i] of match.pairs) circle(found.x[i], found.y[i], MARKS.correct);
      for (const j of match.missed) circle(truth.x[j], truth.y[j], MARKS.missed);
      for (const i of match.false) circle(found.x[i], found.y[i], MARKS.false);
      items.push(["correct", `${match.pairs.length} correct`], ["missed", `${match.missed.length} missed`],
        ["false", `${match.false.length} false`]);
    } else if (this.parts.showPoints.checked && this.table.length) {
      for (let i = 0; i < found.x.length; i++) circle(found.x[i], found.y[i], MARKS.found);
      items.push(["found", `${found.x.length} localizations in this frame`]);
    }
    for (const [kind, text] of items) {
      const entry = document.createElement("span");
      const dot = document.createElement("i");
      dot.className = `dot ${kind}`;
      entry.append(dot, text);
      this.parts.legend.append(entry);
    }
  }

  _points(table, mask) {
    const { x_nm, y_nm } = table.columns;
    const rows = [...table.inFrame(this.number)].filter((i) => !mask || mask[i]);
    return { x: rows.map((i) => x_nm[i]), y: rows.map((i) => y_nm[i]) };
  }

  _wire() {
    const { canvas, slider, play, autoContrast } = this.parts;
    slider.addEventListener("input", () => this.goTo(Number(slider.value)));
    play.addEventListener("click", () => this.play());
    autoContrast.addEventListener("click", () => {
      this.range = null;
      this.contrast.set(0, 1);
      this.redraw();
    });
    for (const box of [this.parts.showProbability, this.parts.showPoints, this.parts.showTruth]) {
      box.addEventListener("change", this.redraw);
    }
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
      const far = event.shiftKey ? 10 : 1;
      if (event.key === " ") this.play();
      else if (steps[event.key]) this.goTo(this.number + far * steps[event.key]);
      else if (event.key === "Home") this.goTo(0);
      else if (event.key === "End") this.goTo(this.movie.frames - 1);
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    }, { capture: true });
  }
}

function toCanvas(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Grey values between which nearly all pixels lie, with room above for brighter frames. */
export function robustRange(pixels) {
  const sorted = Uint16Array.from(pixels).sort();
  const low = sorted[Math.floor(0.005 * sorted.length)];
  const high = sorted[Math.min(sorted.length - 1, Math.floor(0.9985 * sorted.length))];
  return { low, high: Math.max(high, low + 1) };
}
