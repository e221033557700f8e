// From localizations to pixels: counts, smoothing, brightness, colour.

const WIDE_PX = 2;

/**
 * Count the selected rows in a grid of width × height pixels of `pixel_nm`, whose corner lies at
 * (x0_nm, y0_nm). With `shade` {values, low, high} also the sum of the colour value (0..1) per pixel.
 */
export function binRows(table, mask, grid, shade = null) {
  const { width, height, pixel_nm, x0_nm, y0_nm } = grid;
  const counts = new Float32Array(width * height);
  const sums = shade ? new Float32Array(width * height) : null;
  const x = table.columns.x_nm;
  const y = table.columns.y_nm;
  const inverse = 1 / pixel_nm;
  const n = table.length;
  let inside = 0;
  if (!shade) {
    for (let i = 0; i < n; i++) {
      if (!mask[i]) continue;
      const column = Math.floor((x[i] - x0_nm) * inverse);
      const row = Math.floor((y[i] - y0_nm) * inverse);
      if (column >= 0 && row >= 0 && column < width && row < height) {
        counts[row * width + column] += 1;
        inside += 1;
      }
    }
    return { counts, sums, inside };
  }
  const { values, low } = shade;
  const factor = 1 / (shade.high - low || 1);
  for (let i = 0; i < n; i++) {
    if (!mask[i]) continue;
    const column = Math.floor((x[i] - x0_nm) * inverse);
    const row = Math.floor((y[i] - y0_nm) * inverse);
    if (column >= 0 && row >= 0 && column < width && row < height) {
      const at = row * width + column;
      const value = (values[i] - low) * factor;
      counts[at] += 1;
      sums[at] += value > 0 ? (value < 1 ? value : 1) : 0; // no value counts as low
      inside += 1;
    }
  }
  return { counts, sums, inside };
}

function boxLine(source, target, from, step, length, radius) {
  const norm = 1 / (2 * radius + 1);
  let sum = 0;
  for (let i = 0; i < Math.min(radius, length); i++) sum += source[from + i * step];
  for (let i = 0; i < length; i++) {
    if (i + radius < length) sum += source[from + (i + radius) * step];
    target[from + i * step] = sum * norm;
    if (i - radius >= 0) sum -= source[from + (i - radius) * step];
  }
}

/** Radii of three box filters whose variances add up to about sigma². */
export function boxRadii(sigma) {
  const radii = [0, 0, 0];
  const variance = (r) => ((2 * r + 1) ** 2 - 1) / 12;
  for (let step = 0; ; step++) {
    const total = radii.reduce((sum, r) => sum + variance(r), 0);
    const next = total - variance(radii[step % 3]) + variance(radii[step % 3] + 1);
    if (Math.abs(next - sigma * sigma) >= Math.abs(total - sigma * sigma)) return radii;
    radii[step % 3] += 1;
  }
}

/** Weights 0, 1, 2, ... pixels away of a Gaussian of `sigma` pixels; over both sides they sum to 1. */
export function gaussianWeights(sigma) {
  const weights = [];
  for (let k = 0; k <= Math.ceil(3 * sigma); k++) weights.push(Math.exp(-(k * k) / (2 * sigma * sigma)));
  const sum = 2 * weights.reduce((a, b) => a + b) - weights[0];
  return weights.map((weight) => weight / sum);
}

/** Spread the lit pixels along one direction; the dark ones, which are the most, cost nothing. */
function spread(source, target, width, height, weights, isRow) {
  target.fill(0);
  const reach = weights.length - 1;
  const length = isRow ? width : height;
  const step = isRow ? 1 : width;
  for (let y = 0, base = 0; y < height; y++) {
    for (let x = 0; x < width; x++, base++) {
      const value = source[base];
      if (value === 0) continue;
      const at = isRow ? x : y;
      const before = at < reach ? at : reach;
      const after = length - 1 - at < reach ? length - 1 - at : reach;
      target[base] += value * weights[0];
      for (let k = 1; k <= before; k++) target[base - k * step] += value * weights[k];
      for (let k = 1; k <= after; k++) target[base + k * step] += value * weights[k];
    }
  }
}

/**
 * Smooth in place by a Gaussian of `sigma` pixels, wide ones by three box filters instead; light
 * that leaves the grid is lost.
 */
export function smooth(values, width, height, sigma) {
  const scratch = new Float32Array(values.length);
  if (sigma < WIDE_PX) {
    const weights = gaussianWeights(sigma);
    spread(values, scratch, width, height, weights, true);
    spread(scratch, values, width, height, weights, false);
    return values;
  }
  for (const radius of boxRadii(sigma)) {
    if (!radius) continue;
    for (let row = 0; row < height; row++) boxLine(values, scratch, row * width, 1, width, radius);
    for (let column = 0; column < width; column++) boxLine(scratch, values, column, width, height, radius);
  }
  return values;
}

/** The count at which the picture is full bright: a quantile of the lit pixels. */
export function brightLevel(counts, quantile = 0.995) {
  let most = 0;
  for (let i = 0; i < counts.length; i++) if (counts[i] > most) most = counts[i];
  if (!(most > 0)) return 1;
  const bins = new Uint32Array(1024);
  let lit = 0;
  const dark = most * 1e-3;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] > dark) {
      bins[Math.min(1023, Math.floor((counts[i] / most) * 1024))] += 1;
      lit += 1;
    }
  }
  let seen = 0;
  for (let b = 0; b < 1024; b++) {
    seen += bins[b];
    if (seen >= quantile * lit) return ((b + 1) / 1024) * most;
  }
  return most;
}

/** Colour pixels by count alone: table[count / level]. */
export function paintCounts(counts, level, map, pixels) {
  const factor = 255 / level;
  for (let i = 0, at = 0; i < counts.length; i++, at += 4) {
    const value = counts[i] * factor;
    const entry = 3 * (value < 255 ? Math.sqrt(value / 255) * 255 | 0 : 255);
    pixels[at] = map[entry];
    pixels[at + 1] = map[entry + 1];
    pixels[at + 2] = map[entry + 2];
    pixels[at + 3] = 255;
  }
}

/** Colour pixels by the mean of a value, as bright as the square root of the count. */
export function paintShaded(counts, sums, level, map, pixels) {
  for (let i = 0, at = 0; i < counts.length; i++, at += 4) {
    pixels[at + 3] = 255;
    const count = counts[i];
    if (!(count > 0)) {
      pixels[at] = pixels[at + 1] = pixels[at + 2] = 0;
      continue;
    }
    const bright = Math.sqrt(Math.min(1, count / level));
    const entry = 3 * Math.min(255, Math.round((sums[i] / count) * 255));
    pixels[at] = map[entry] * bright;
    pixels[at + 1] = map[entry + 1] * bright;
    pixels[at + 2] = map[entry + 2] * bright;
  }
}

/** A round length near `wanted_nm` for a scale bar: 1, 2 or 5 times a power of ten. */
export function roundLength(wanted_nm) {
  const power = 10 ** Math.floor(Math.log10(wanted_nm));
  const factor = [5, 2, 1].find((f) => f * power <= wanted_nm) ?? 1;
  return factor * power;
}

/** A length with its unit: 500 nm, 2 µm. */
export function lengthText(nm) {
  return nm >= 1000 ? `${+(nm / 1000).toPrecision(3)} µm` : `${+nm.toPrecision(3)} nm`;
}
