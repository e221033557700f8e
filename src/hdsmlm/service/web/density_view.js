// Where and when the localizations are: a map per µm² and frame, and a curve over the frames.

import { binRows } from "./binning.js";
import { colormap, paintBar } from "./colormaps.js";
import { shortNumber } from "./filter_panel.js";
import { drawScaleBar } from "./picture.js";
import { Viewport, onceAFrame, sized } from "./viewport.js";

const MAP = colormap("viridis");

/** Localizations per µm² and frame in cells of `cell_nm`; {values, width, height, most}. */
export function densityMap(table, mask, field, cell_nm, frames) {
  const width = Math.max(1, Math.ceil(field.width_nm / cell_nm));
  const height = Math.max(1, Math.ceil(field.height_nm / cell_nm));
  const { counts } = binRows(table, mask, { width, height, pixel_nm: cell_nm, x0_nm: 0, y0_nm: 0 });
  let most = 0;
  for (let row = 0; row < height; row++) {
    const tall_nm = Math.min(cell_nm, field.height_nm - row * cell_nm);
    for (let column = 0; column < width; column++) {
      const wide_nm = Math.min(cell_nm, field.width_nm - column * cell_nm);
      const at = row * width + column;
      counts[at] /= ((tall_nm * wide_nm) / 1e6) * Math.max(1, frames); // cells at the edge are smaller
      most = Math.max(most, counts[at]);
    }
  }
  return { values: counts, width, height, most };
}

/** Selected rows per frame, as means over `points` stretches of frames. */
export function perFrame(table, mask, frames, points) {
  const stretches = Math.min(points, Math.max(1, frames));
  const counts = new Float32Array(stretches);
  const sizes = new Float32Array(stretches);
  const at = (frame) => Math.min(stretches - 1, Math.floor((frame * stretches) / frames));
  for (let frame = 0; frame < frames; frame++) sizes[at(frame)] += 1;
  const column = table.columns.frame;
  for (let i = 0; i < table.length; i++) {
    if (mask[i] && column[i] < frames) counts[at(column[i])] += 1;
  }
  return counts.map((count, i) => count / sizes[i]);
}

export class DensityView {
  constructor(table, filters, parts) {
    Object.assign(this, { table, filters, parts, frames: 0, field: null });
    this.redraw = onceAFrame(() => this.draw());
    this.view = new Viewport(parts.canvas, this.redraw);
    parts.cell.addEventListener("input", this.redraw);
  }

  setField(width_nm, height_nm, frames) {
    this.field = { width_nm, height_nm };
    this.frames = frames;
    this.view.setField(width_nm, height_nm);
  }

  draw() {
    const { canvas, empty, colors, text } = this.parts;
    empty.hidden = this.table.length > 0;
    colors.hidden = !this.table.length;
    if (!canvas.clientWidth || !this.field) return;
    const { context, ratio, width, height } = sized(canvas);
    context.clearRect(0, 0, width, height);
    this._curve();
    text.textContent = "";
    if (!this.table.length) return;
    const cell_nm = Number(this.parts.cell.value);
    const seen = this._seenFrames();
    const map = densityMap(this.table, this.filters.mask, this.field, cell_nm, seen);
    const nm = this.view.nm_per_px / ratio;
    context.imageSmoothingEnabled = false;
    context.save();
    context.beginPath();
    const left = -this.view.x0_nm / nm;
    const top = -this.view.y0_nm / nm;
    context.rect(left, top, this.field.width_nm / nm, this.field.height_nm / nm);
    context.clip();
    context.drawImage(painted(map), left, top, (map.width * cell_nm) / nm, (map.height * cell_nm) / nm);
    context.restore();
    drawScaleBar(context, { width, height, pixel_nm: nm }, ratio);
    const area = (this.field.width_nm * this.field.height_nm) / 1e6;
    const mean = this.filters.count / (area * Math.max(1, seen));
    text.textContent = `on average ${shortNumber(mean)} localizations per µm² and frame`;
    this.parts.high.textContent = `${shortNumber(map.most)} per µm² and frame`;
    if (!this._hasBar) paintBar(this.parts.bar, "viridis");
    this._hasBar = true;
  }

  /** Frames that the density is an average over: those that are localized and not filtered away. */
  _seenFrames() {
    const last = this.table.column("frame").reduce((most, frame) => Math.max(most, frame), 0);
    const bound = this.filters.bounds.find(({ column }) => column === "frame");
    const from = Math.max(0, bound?.low ?? 0);
    return Math.max(1, Math.min(last, bound?.high ?? last) - from + 1);
  }

  _curve() {
    const { context, ratio, width, height } = sized(this.parts.perFrame);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    if (!this.frames || !this.table.length) return;
    const values = perFrame(this.table, this.filters.mask, this.frames, Math.floor(width / ratio / 3));
    const most = values.reduce((a, b) => Math.max(a, b), 0) || 1;
    const left = 40 * ratio;
    const bottom = height - 18 * ratio;
    const top = 8 * ratio;
    const x = (i) => left + ((i + 0.5) / values.length) * (width - left - 4 * ratio);
    const y = (value) => bottom - (value / most) * (bottom - top);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.fillStyle = color("--soft");
    context.textAlign = "right";
    context.fillText(shortNumber(most), left - 6 * ratio, top + 8 * ratio);
    context.fillText("0", left - 6 * ratio, bottom);
    context.fillText(`frame ${this.frames - 1}`, width - 4 * ratio, height - 4 * ratio);
    context.textAlign = "left";
    context.fillText("0", left, height - 4 * ratio);
    context.strokeStyle = color("--line");
    context.strokeRect(left, bottom, width - left, 0.5);
    context.beginPath();
    values.forEach((value, i) => (i ? context.lineTo(x(i), y(value)) : context.moveTo(x(i), y(value))));
    context.strokeStyle = color("--accent");
    context.lineWidth = 1.5 * ratio;
    context.stroke();
  }
}

function painted({ values, width, height, most }) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const entry = 3 * Math.min(255, Math.round((values[i] / (most || 1)) * 255));
    image.data.set([MAP[entry], MAP[entry + 1], MAP[entry + 2], 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
