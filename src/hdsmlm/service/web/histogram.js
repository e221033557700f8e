// Histograms of columns, as counts and on a canvas.

import { fractionAt } from "./filters.js";

/**
 * Bin number of each row, 255 where it lies outside or has no value. With it the histogram of a
 * selection is one addition per row.
 */
export function binNumbers(values, range, bins, into) {
  const n = values.length;
  const numbers = into && into.length >= n ? into : new Uint8Array(Math.max(n, 1024));
  if (range.scale === "log") {
    const factor = bins / Math.log(range.high / range.low);
    for (let i = 0; i < n; i++) {
      const at = Math.floor(Math.log(values[i] / range.low) * factor);
      numbers[i] = at >= 0 && at < bins ? at : 255;
    }
  } else {
    const factor = bins / (range.high - range.low);
    for (let i = 0; i < n; i++) {
      const at = Math.floor((values[i] - range.low) * factor);
      numbers[i] = at >= 0 && at < bins ? at : 255;
    }
  }
  return numbers;
}

/** Rows per bin of those with mask 1; without a mask, of all. */
export function countBins(numbers, n, bins, mask) {
  const counts = new Uint32Array(256);
  if (mask) for (let i = 0; i < n; i++) counts[numbers[i]] += mask[i];
  else for (let i = 0; i < n; i++) counts[numbers[i]] += 1;
  return counts.subarray(0, bins);
}

/** Draw all rows (pale) and the selected ones (strong), with the part outside the bounds shaded. */
export function drawHistogram(canvas, { all, selected, range, low, high, colors }) {
  const ratio = globalThis.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  let most = 1;
  for (const count of all) if (count > most) most = count;
  const bar = width / all.length;
  const draw = (counts, color) => {
    context.fillStyle = color;
    for (let i = 0; i < counts.length; i++) {
      const tall = counts[i] ? Math.max(ratio, (counts[i] / most) * (height - ratio)) : 0;
      context.fillRect(i * bar, height - tall, Math.max(1, bar - ratio * 0.5), tall);
    }
  };
  draw(all, colors.pale);
  draw(selected, colors.strong);
  context.fillStyle = colors.shade;
  if (low > -Infinity) context.fillRect(0, 0, fractionAt(range, low) * width, height);
  if (high < Infinity) {
    const from = fractionAt(range, high) * width;
    context.fillRect(from, 0, width - from, height);
  }
}
