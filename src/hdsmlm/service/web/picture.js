// The super-resolved picture: localizations binned on the screen's own pixels.

import { binRows, brightLevel, lengthText, paintCounts, paintShaded, roundLength, smooth } from "./binning.js";
import { colormap, paintBar } from "./colormaps.js";
import { quantiles } from "./filters.js";
import { shortNumber } from "./filter_panel.js";
import { floatTiff } from "./tiff.js";
import { Viewport, onceAFrame, sized } from "./viewport.js";

const MOST_EXPORT_PX = 64e6;
const COLOR_LABELS = { frame: "frame", z_nm: "z in nm", uncertainty_xy_nm: "uncertainty in nm" };

/** The picture of a selection; parts: canvas and controls. */
export class Picture {
  constructor(table, filters, parts) {
    Object.assign(this, { table, filters, parts });
    this.last_ms = 0;
    this.redraw = onceAFrame(() => this.draw());
    this.view = new Viewport(parts.canvas, this.redraw);
    for (const control of [parts.colorBy, parts.blur, parts.brightness]) {
      control.addEventListener("input", this.redraw);
    }
    parts.fit.addEventListener("click", () => this.view.fit());
  }

  setField(width_nm, height_nm) {
    this.view.setField(width_nm, height_nm);
  }

  draw() {
    const { canvas, empty, text } = this.parts;
    this._offerColors();
    empty.hidden = this.table.length > 0;
    if (!canvas.clientWidth || !this.view.width_nm) return;
    const began = performance.now();
    const { context, ratio, width, height } = sized(canvas);
    const pixel_nm = this.view.nm_per_px / ratio;
    const grid = { width, height, pixel_nm, x0_nm: this.view.x0_nm, y0_nm: this.view.y0_nm };
    const image = context.createImageData(width, height);
    const { inside, shade } = this._paint(grid, image.data);
    context.putImageData(image, 0, 0);
    this._frame(context, grid);
    drawScaleBar(context, grid, ratio);
    this._colorBar(shade);
    text.textContent = this.table.length
      ? `${new Intl.NumberFormat("en").format(inside)} localizations in view`
      : "";
    this.last_ms = performance.now() - began;
  }

  /** Save the whole field as it is coloured on the screen. */
  async png() {
    const grid = this._wholeField();
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: grid.width, height: grid.height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(grid.width, grid.height);
    this._paint(grid, image.data);
    context.putImageData(image, 0, 0);
    drawScaleBar(context, grid, Math.max(1, grid.width / 800));
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  /** Localizations per pixel as 32-bit floats, unsmoothed: their sum is the number shown. */
  tiff() {
    const grid = this._wholeField();
    const { counts } = binRows(this.table, this.filters.mask, grid);
    const note = this.filters.bounds
      .map(({ column, low, high }) => `filter=${column} ${low} ${high}`).join("\n");
    return new Blob([floatTiff(counts, grid.width, grid.height, grid.pixel_nm, note)], { type: "image/tiff" });
  }

  _wholeField() {
    const pixel_nm = Number(this.parts.exportPixel.value);
    const width = Math.ceil(this.view.width_nm / pixel_nm);
    const height = Math.ceil(this.view.height_nm / pixel_nm);
    if (!(this.table.length && width * height > 0)) throw new Error("There is nothing to save yet: localize a movie first.");
    if (width * height > MOST_EXPORT_PX) {
      throw new Error(`A picture of ${width} × ${height} pixels is too large for the browser; choose a larger pixel, or render it with "hdsmlm render".`);
    }
    return { width, height, pixel_nm, x0_nm: 0, y0_nm: 0 };
  }

  _paint(grid, pixels) {
    const shade = this._shade();
    const { counts, sums, inside } = binRows(this.table, this.filters.mask, grid, shade);
    const sigma = Number(this.parts.blur.value) / grid.pixel_nm;
    // A point closer than a pixel is drawn one pixel wide at least when one looks from near.
    if (sigma > 0.4) {
      smooth(counts, grid.width, grid.height, Math.min(sigma, 60));
      if (sums) smooth(sums, grid.width, grid.height, Math.min(sigma, 60));
    }
    const level = brightLevel(counts) / 2 ** Number(this.parts.brightness.value);
    if (shade) paintShaded(counts, sums, level, colormap("spectrum"), pixels);
    else paintCounts(counts, level, colormap("glow"), pixels);
    return { inside, shade };
  }

  /** Offer only what this table has: a 2D one has no depth. */
  _offerColors() {
    const { colorBy } = this.parts;
    for (const option of colorBy.options) {
      const known = option.value === "none" || !this.table.length
        || this.table.column(option.value).some((value) => Number.isFinite(value));
      option.disabled = !known;
      if (!known && colorBy.value === option.value) colorBy.value = "none";
    }
  }

  /** What colours the picture and over which range; null for the density alone. */
  _shade() {
    const column = this.parts.colorBy.value;
    if (column === "none" || !this.table.length) return null;
    const values = this.table.column(column);
    const [low, high] = quantiles(values, column === "frame" ? [0, 1] : [0.02, 0.98], this.filters.mask);
    return Number.isFinite(low) ? { column, values, low, high } : null;
  }

  _frame(context, grid) {
    const at = (nm, corner) => (nm - corner) / grid.pixel_nm;
    context.strokeStyle = "#ffffff30";
    context.strokeRect(
      at(0, grid.x0_nm), at(0, grid.y0_nm),
      this.view.width_nm / grid.pixel_nm, this.view.height_nm / grid.pixel_nm,
    );
  }

  _colorBar(shade) {
    const { colors, colorLow, colorHigh, colorCanvas, colorBy } = this.parts;
    colors.hidden = !shade;
    if (!shade) {
      this._painted = null;
      if (colorBy.value !== "none" && this.table.length) this.parts.text.textContent = "";
      return;
    }
    colorLow.textContent = `${COLOR_LABELS[shade.column]} ${shortNumber(shade.low)}`;
    colorHigh.textContent = shortNumber(shade.high);
    if (!this._painted) paintBar(colorCanvas, "spectrum");
    this._painted = true;
  }
}

/** Draw a scale bar into the lower left corner. */
export function drawScaleBar(context, grid, ratio) {
  const length_nm = roundLength((grid.width * grid.pixel_nm) / 5);
  const length = length_nm / grid.pixel_nm;
  const left = 14 * ratio;
  const bottom = grid.height - 16 * ratio;
  context.save();
  context.shadowColor = "#000";
  context.shadowBlur = 4 * ratio;
  context.fillStyle = "#fff";
  context.fillRect(left, bottom, length, 3 * ratio);
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.fillText(lengthText(length_nm), left, bottom - 6 * ratio);
  context.restore();
}
