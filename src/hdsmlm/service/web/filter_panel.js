// The panel of histograms and sliders, and the selection that all views share.

import { FILTERS, MOST_BINS, select, sliderRange, valueAt } from "./filters.js";
import { binNumbers, countBins, drawHistogram } from "./histogram.js";
import { RangeSlider } from "./range_slider.js";
import { onceAFrame } from "./viewport.js";

/** Filters over a table; `changed()` is called when another selection holds. */
export class FilterPanel {
  constructor(table, parts, changed) {
    this.table = table;
    this.parts = parts;
    this.changed = changed;
    this.mask = new Uint8Array(1024);
    this.count = 0;
    this.last_ms = 0;
    this.apply = onceAFrame(() => this._apply());
    this.rows = FILTERS.map((filter) => this._row(filter));
    parts.reset.addEventListener("click", () => this.reset());
    new ResizeObserver(onceAFrame(() => this.draw())).observe(parts.box);
  }

  /** Bounds that are set. */
  get bounds() {
    return this.rows
      .filter((row) => row.low > -Infinity || row.high < Infinity)
      .map(({ filter, low, high }) => ({ column: filter.column, low, high }));
  }

  reset() {
    for (const row of this.rows) {
      row.low = -Infinity;
      row.high = Infinity;
      row.slider.set(0, 1);
    }
    this.apply();
  }

  /** Take over that the table has more, fewer or other rows. */
  refresh() {
    const n = this.table.length;
    if (this.mask.length < n) this.mask = new Uint8Array(this.table.columns.frame.length);
    for (const row of this.rows) {
      const range = n ? sliderRange(this.table.column(row.filter.column), row.filter.scale) : null;
      row.box.classList.toggle("off", !range);
      row.slider.disable(!range);
      row.range = range;
      if (!range) continue;
      row.numbers = binNumbers(this.table.column(row.filter.column), range, range.bins ?? MOST_BINS, row.numbers);
      row.all = countBins(row.numbers, n, range.bins ?? MOST_BINS);
      const at = (value, end) => {
        if (!Number.isFinite(value)) return end;
        const lowest = valueAt(range, 0);
        const scaled = range.scale === "log"
          ? Math.log(Math.max(value, 1e-12) / lowest) / Math.log(range.high / lowest)
          : (value - lowest) / (range.high - lowest);
        return Math.min(1, Math.max(0, scaled));
      };
      row.slider.set(at(row.low, 0), at(row.high, 1)); // the bound stays, the range has moved
    }
    this.parts.reset.disabled = !n;
    this._apply();
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const colors = { pale: color("--pale-bar"), strong: color("--accent"), shade: color("--shade") };
    for (const row of this.rows) {
      if (!row.range) {
        row.canvas.getContext("2d").clearRect(0, 0, row.canvas.width, row.canvas.height);
        row.output.textContent = this.table.length ? "not in this table" : "";
        continue;
      }
      drawHistogram(row.canvas, { ...row, colors });
      const unit = row.filter.unit ? ` ${row.filter.unit}` : "";
      const from = shortNumber(row.low > -Infinity ? row.low : valueAt(row.range, 0));
      const isFrame = row.filter.column === "frame";
      const to = shortNumber(row.high < Infinity ? row.high : (row.range.last ?? valueAt(row.range, 1)));
      const name = isFrame ? "frames " : "";
      row.output.textContent = `${name}${from} to ${to}${unit}`;
      row.slider.say(`${from}${unit}`, `${to}${unit}`);
    }
  }

  _apply() {
    const began = performance.now();
    const n = this.table.length;
    this.count = select(this.table, this.bounds, this.mask);
    for (const row of this.rows) {
      if (row.range) row.selected = countBins(row.numbers, n, row.all.length, this.mask);
    }
    this.last_ms = performance.now() - began;
    const whole = new Intl.NumberFormat("en");
    this.parts.text.textContent = n
      ? `${whole.format(this.count)} of ${whole.format(n)} shown`
      : "No localizations yet";
    this.draw();
    this.changed();
  }

  _row(filter) {
    const box = document.createElement("div");
    box.className = "filter off";
    const label = document.createElement("span");
    label.textContent = filter.label;
    const output = document.createElement("output");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Histogram: ${filter.label}`);
    const track = document.createElement("div");
    track.className = "range";
    box.append(label, output, canvas, track);
    this.parts.box.append(box);
    const row = { filter, box, output, canvas, low: -Infinity, high: Infinity, range: null };
    row.slider = new RangeSlider(track, filter.label, (low, high) => {
      row.low = low > 0 ? bound(row, low) : -Infinity;
      row.high = high < 1 ? bound(row, high) : Infinity;
      this.apply();
    });
    row.slider.disable(true);
    return row;
  }
}

function bound(row, fraction) {
  const value = valueAt(row.range, fraction);
  return row.filter.column === "frame" ? Math.round(value) : value;
}

/** Three digits, no more. */
export function shortNumber(value) {
  if (!Number.isFinite(value)) return "";
  if (Math.abs(value) >= 100) return String(Math.round(value));
  return String(+value.toPrecision(3));
}
