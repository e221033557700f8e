// Which rows are shown: bounds on columns, and what a slider offers for a column.

/** A logarithmic slider ends at so many medians: a fit without light has an uncertainty of any size. */
const MOST_MEDIANS = 100;

/** Bars of a histogram at most. */
export const MOST_BINS = 80;

/** What can be filtered: label, unit, scale of its slider. */
export const FILTERS = [
  { column: "photons", label: "Photons", unit: "", scale: "log" },
  { column: "uncertainty_xy_nm", label: "Uncertainty", unit: "nm", scale: "log" },
  { column: "probability", label: "Probability", unit: "", scale: "linear" },
  { column: "background", label: "Background", unit: "ph/px", scale: "linear" },
  { column: "z_nm", label: "Depth z", unit: "nm", scale: "linear" },
  { column: "frame", label: "Counts per frame", unit: "", scale: "frames" },
];

/**
 * Mark the rows within all bounds in `mask` (1 = shown) and return how many there are.
 * bounds: [{column, low, high}], both ends included. A row without a value (NaN) is kept: a bound
 * says nothing about what was not measured.
 */
export function select(table, bounds, mask) {
  const n = table.length;
  mask.fill(1, 0, n);
  for (const { column, low, high } of bounds) {
    const values = table.columns[column];
    if (low > -Infinity && high < Infinity) {
      for (let i = 0; i < n; i++) mask[i] &= !(values[i] < low) & !(values[i] > high);
    } else if (low > -Infinity) {
      for (let i = 0; i < n; i++) mask[i] &= !(values[i] < low);
    } else if (high < Infinity) {
      for (let i = 0; i < n; i++) mask[i] &= !(values[i] > high);
    }
  }
  let count = 0;
  for (let i = 0; i < n; i++) count += mask[i];
  return count;
}

/**
 * The q-quantiles of a column without NaN, from at most `most` rows spread over it; with a mask of
 * those with mask 1.
 */
export function quantiles(values, qs, mask = null, most = 20_000) {
  const step = Math.max(1, Math.floor(values.length / most));
  const sample = [];
  for (let i = 0; i < values.length; i += step) {
    if (Number.isFinite(values[i]) && (!mask || mask[i])) sample.push(values[i]);
  }
  if (!sample.length) return qs.map(() => NaN);
  const sorted = Float64Array.from(sample).sort();
  return qs.map((q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]);
}

/** Range of a slider: nearly all rows lie in it; the ends stand for "no bound". */
export function sliderRange(values, scale) {
  if (scale === "frames") {
    const last = values.reduce((most, frame) => Math.max(most, frame), 0);
    const wide = Math.ceil((last + 1) / MOST_BINS); // whole frames in each bin, else bars form a comb
    const bins = Math.ceil((last + 1) / wide);
    return { low: 0, high: bins * wide, scale: "linear", bins, last };
  }
  const [low, median, high] = quantiles(values, [0.002, 0.5, 0.998]);
  if (!Number.isFinite(low)) return null;
  if (scale === "log") {
    const to = median > 0 ? Math.min(high, MOST_MEDIANS * median) : high;
    const from = Math.max(low, to * 1e-4, 1e-6);
    return { low: from * 0.98, high: Math.max(to, from) * 1.02, scale };
  }
  const pad = (high - low || Math.abs(high) || 1) * 1e-4; // the largest value belongs to the last bin
  return { low: low - pad, high: high + pad, scale: "linear" };
}

/** Value at a fraction 0..1 of a range, and back. */
export function valueAt(range, fraction) {
  if (range.scale === "log") return range.low * (range.high / range.low) ** fraction;
  return range.low + fraction * (range.high - range.low);
}

export function fractionAt(range, value) {
  if (range.scale === "log") {
    return Math.log(Math.max(value, 1e-12) / range.low) / Math.log(range.high / range.low);
  }
  return (value - range.low) / (range.high - range.low);
}
