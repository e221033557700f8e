// Pure functions of the web page; run by tests/service/test_web_functions.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import { binRows, boxRadii, brightLevel, gaussianWeights, lengthText, paintCounts, roundLength, smooth } from "./binning.js";
import { colormap } from "./colormaps.js";
import { densityMap, perFrame } from "./density_view.js";
import { fractionAt, quantiles, select, sliderRange, valueAt } from "./filters.js";
import { binNumbers, countBins } from "./histogram.js";
import { LocalizationTable, indexByFrame } from "./table.js";

const NAMES = ["frame", "x_nm", "y_nm", "photons"];

function tableOf(rows) {
  const table = new LocalizationTable();
  table.append(NAMES, Float32Array.from(rows.flat()));
  return table;
}

// Deterministic numbers in 0..1 (a linear congruential generator of Numerical Recipes).
function numbers(count, seed = 1) {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return state / 2 ** 32;
  });
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

test("a table grows, keeps order and finds the rows of a frame", () => {
  const table = new LocalizationTable();
  for (let piece = 0; piece < 5; piece++) {
    const rows = numbers(700, piece).flatMap((u, i) => [i % 7, 100 * u, piece, 500]);
    table.append(NAMES, Float32Array.from(rows));
  }
  assert.equal(table.length, 3500);
  assert.equal(table.column("y_nm")[0], 0);
  assert.equal(table.column("y_nm")[3499], 4);
  assert.equal(table.has("z_nm"), false); // a column that did not come has no values
  const rows = table.inFrame(3);
  assert.equal(rows.length, 500);
  for (const row of rows) assert.equal(table.columns.frame[row], 3);
  assert.equal(table.inFrame(99).length, 0);
  table.clear();
  assert.equal(table.inFrame(3).length, 0);
});

test("the index by frame holds every row once", () => {
  const frames = Float32Array.from(numbers(1000), (u) => Math.floor(u * 50));
  const { starts, order } = indexByFrame(frames);
  assert.equal(starts[starts.length - 1], 1000);
  assert.deepEqual([...order].sort((a, b) => a - b), [...Array(1000).keys()]);
});

test("a filter keeps both ends and rows without a value", () => {
  const table = tableOf([[0, 1, 1, 100], [1, 1, 1, 200], [2, 1, 1, 300], [3, 1, 1, NaN]]);
  const mask = new Uint8Array(8);
  assert.equal(select(table, [{ column: "photons", low: 200, high: 300 }], mask), 3);
  assert.deepEqual([...mask.subarray(0, 4)], [0, 1, 1, 1]);
  const both = [{ column: "photons", low: 200, high: Infinity }, { column: "frame", low: -Infinity, high: 1 }];
  assert.equal(select(table, both, mask), 1);
  assert.equal(select(table, [], mask), 4);
});

test("slider positions and values are each other's inverse", () => {
  for (const range of [{ low: 2, high: 900, scale: "log" }, { low: -4, high: 7, scale: "linear" }]) {
    for (const fraction of [0, 0.2, 0.75, 1]) {
      assert.ok(Math.abs(fractionAt(range, valueAt(range, fraction)) - fraction) < 1e-12);
    }
  }
  const frames = sliderRange(Float32Array.from([0, 299, 7]), "frames");
  assert.deepEqual([frames.bins, frames.high, frames.last], [75, 300, 299]); // four frames in each bin
  assert.equal(sliderRange(Float32Array.from([NaN, NaN]), "log"), null);
  const wild = Float32Array.from({ length: 100 }, (_, i) => (i < 2 ? 1e17 : 5 + i / 10)); // two fits without light
  assert.ok(sliderRange(wild, "log").high < 1100);
  assert.deepEqual(quantiles(Float32Array.from([3, NaN, 1, 2]), [0, 0.5, 1]), [1, 2, 3]);
  assert.deepEqual(quantiles(Float32Array.from([3, 9, 1]), [1], Uint8Array.of(1, 0, 1)), [3]);
});

test("histograms count each row inside once; those of selections add up", () => {
  const values = Float32Array.from(numbers(5000), (u) => 10 * u - 1);
  const range = { low: 0, high: 8, scale: "linear" };
  const bins = binNumbers(values, range, 40);
  const all = countBins(bins, 5000, 40);
  assert.equal(sum(all), values.filter((v) => v >= 0 && v < 8).length);
  const mask = Uint8Array.from(values, (v) => Number(v > 3));
  const rest = mask.map((bit) => 1 - bit);
  const parts = [countBins(bins, 5000, 40, mask), countBins(bins, 5000, 40, rest)];
  assert.deepEqual([...all], [...all.keys()].map((i) => parts[0][i] + parts[1][i]));
  const log = binNumbers(Float32Array.from([1, 9.99, 10.01, 99, NaN, 0]), { low: 1, high: 100, scale: "log" }, 2);
  assert.deepEqual([...log.subarray(0, 6)], [0, 0, 1, 1, 255, 255]);
});

test("binning: an emitter lies in the pixel floor(x / p), and none is lost or counted twice", () => {
  const table = tableOf([[0, 0, 0, 1], [0, 99.9, 0, 1], [0, 100, 0, 1], [0, 250, 150, 1], [0, 300, 0, 1], [0, -1, 0, 1]]);
  const mask = new Uint8Array(8).fill(1);
  const grid = { width: 3, height: 2, pixel_nm: 100, x0_nm: 0, y0_nm: 0 };
  const { counts, inside } = binRows(table, mask, grid);
  assert.deepEqual([...counts], [2, 1, 0, 0, 0, 1]);
  assert.equal(inside, 4);
  mask[0] = 0;
  assert.equal(sum(binRows(table, mask, grid).counts), 3);
});

test("colour values are means per pixel, clipped to 0..1", () => {
  const table = tableOf([[0, 5, 5, 10], [0, 5, 5, 20], [0, 15, 5, 99]]);
  const shade = { values: table.column("photons"), low: 10, high: 30 };
  const grid = { width: 2, height: 1, pixel_nm: 10, x0_nm: 0, y0_nm: 0 };
  const { counts, sums } = binRows(table, new Uint8Array(3).fill(1), grid, shade);
  assert.equal(sums[0] / counts[0], 0.25);
  assert.equal(sums[1], 1);
});

test("smoothing keeps the sum and has the wanted variance, narrow and wide", () => {
  assert.ok(Math.abs(2 * sum(gaussianWeights(1.3)) - gaussianWeights(1.3)[0] - 1) < 1e-12);
  for (const sigma of [0.8, 1.5, 3, 8]) {
    const size = 101;
    const image = new Float32Array(size * size);
    image[50 * size + 50] = 1;
    smooth(image, size, size, sigma);
    let x2 = 0;
    let y2 = 0;
    image.forEach((value, i) => {
      x2 += value * ((i % size) - 50) ** 2;
      y2 += value * (Math.floor(i / size) - 50) ** 2;
    });
    assert.ok(Math.abs(sum(image) - 1) < 1e-4);
    for (const variance of [x2, y2]) {
      assert.ok(Math.abs(Math.sqrt(variance) - sigma) < 0.08 * sigma + 0.02, `${sigma}: ${Math.sqrt(variance)}`);
    }
  }
  assert.deepEqual(boxRadii(0), [0, 0, 0]);
});

test("brightness follows the lit pixels, not one hot pixel or the dark ones", () => {
  const counts = new Float32Array(10_000);
  for (let i = 0; i < 2000; i++) counts[i] = 5;
  counts[5000] = 400;
  assert.ok(brightLevel(counts) < 6);
  assert.equal(brightLevel(new Float32Array(10)), 1);
  const pixels = new Uint8ClampedArray(8);
  paintCounts(Float32Array.of(0, 5), 5, colormap("glow"), pixels);
  assert.deepEqual([...pixels.subarray(0, 4)], [0, 0, 0, 255]);
  assert.deepEqual([...pixels.subarray(4, 8)], [252, 255, 164, 255]);
});

test("scale bars are of round length", () => {
  assert.deepEqual([1999, 2000, 740, 12].map(roundLength), [1000, 2000, 500, 10]);
  assert.deepEqual([500, 2000, 12_500].map(lengthText), ["500 nm", "2 µm", "12.5 µm"]);
});

test("the density map is per µm² and frame, also in the cut cells at the edge", () => {
  const side = 1200;
  const rows = [];
  for (let x = 5; x < side; x += 10) for (let y = 5; y < side; y += 10) rows.push([0, x, y, 1]);
  const table = tableOf(rows);
  const mask = new Uint8Array(rows.length).fill(1);
  const map = densityMap(table, mask, { width_nm: side, height_nm: side }, 500, 4);
  assert.deepEqual([map.width, map.height], [3, 3]);
  for (const value of map.values) assert.ok(Math.abs(value - 1e4 / 4) < 1e-6 * 1e4);
});

test("localizations per frame are means over stretches", () => {
  const table = tableOf([0, 0, 1, 2, 3, 3, 3].map((frame) => [frame, 1, 1, 1]));
  const mask = new Uint8Array(7).fill(1);
  assert.deepEqual([...perFrame(table, mask, 4, 10)], [2, 1, 1, 3]);
  assert.deepEqual([...perFrame(table, mask, 4, 2)], [1.5, 2]);
  assert.equal(sum(perFrame(table, mask, 3, 10)), 4); // a frame beyond the movie is left out
});
