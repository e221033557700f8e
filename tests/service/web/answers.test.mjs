// What comes and goes over the wire, matching and files; run by tests/service/test_web_functions.py.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import { parseEvents } from "./api.js";
import { progressText } from "./jobs.js";
import { matchNearest } from "./matching.js";
import { robustRange } from "./movie_view.js";
import { durationText, figures, sizeText } from "./results_view.js";
import { floatTiff } from "./tiff.js";
import { verdict } from "./titration_view.js";
import { uploadKey } from "./upload.js";

test("events that arrive in pieces are the same events", () => {
  const stream = ": still here\n\nid: 3\nevent: rows\ndata: {\"rows\": 12}\n\nevent: end\r\ndata: {}\r\n\r\n";
  const whole = parseEvents(stream)[0];
  assert.deepEqual(whole.map(({ event }) => event), ["rows", "end"]);
  assert.deepEqual(JSON.parse(whole[0].data), { rows: 12 });
  assert.equal(whole[0].id, "3");
  let text = "";
  const pieces = [];
  for (const letter of stream.replaceAll("\r\n", "\n")) {
    const [events, rest] = parseEvents(text + letter);
    pieces.push(...events);
    text = rest;
  }
  assert.deepEqual(pieces, whole);
  assert.equal(text, "");
});

test("matching takes the nearest pairs first and each point once", () => {
  const found = { x: [0, 10, 500], y: [0, 0, 0] };
  const truth = { x: [8, 30, 900], y: [0, 0, 0] };
  const match = matchNearest(found, truth, 150);
  assert.deepEqual(match.pairs, [[1, 0], [0, 1]]);
  assert.deepEqual(match.missed, [2]);
  assert.deepEqual(match.false, [2]);
  assert.deepEqual(matchNearest(found, { x: [], y: [] }, 150).false, [0, 1, 2]);
  assert.equal(matchNearest({ x: [0], y: [0] }, { x: [150], y: [0] }, 150).pairs.length, 1);
});

test("the TIFF holds its header, its size and its values", () => {
  const buffer = floatTiff(Float32Array.of(0, 1, 2, 3, 4, 5), 3, 2, 10, "filter=photons 1 2");
  const view = new DataView(buffer);
  assert.equal(view.getUint16(2, true), 42);
  assert.throws(() => floatTiff(Float32Array.of(1), 3, 2, 10), RangeError);
  if (process.env.HDSMLM_TIFF) writeFileSync(process.env.HDSMLM_TIFF, new Uint8Array(buffer));
});

test("sizes, durations and progress as a person says them", () => {
  assert.deepEqual([0, 999, 5_580_000].map(sizeText), ["0 B", "999 B", "5.58 MB"]);
  assert.deepEqual([0.2, 42, 600, 9000].map(durationText), ["1 s", "42 s", "10 min", "2.5 h"]);
  const progress = { stage: "localize", done: 64, total: 300, unit: "frames", rate: 12.34, left_s: 19 };
  assert.equal(progressText(progress), "Localizing: 64 of 300 frames · 12.3 frames/s · about 19 s left");
  assert.match(progressText({ ...progress, rate: null, left_s: null }), /^Localizing: 64 of 300 frames$/);
  assert.deepEqual(figures({ localizations: 12345, camera: {}, unknown: 3 }), [["localizations", "12,345"]]);
});

test("the verdict of a titration says at least only where no limit was met", () => {
  const found = { density_per_um2: 0.1, reliable_per_um2: 2, reliable_f1: 0.85, is_bounded: true, steps: [] };
  assert.match(verdict(found), /up to 2 .* about 20.0 times faster/);
  assert.match(verdict({ ...found, is_bounded: false }), /up to at least 2 /);
  assert.match(verdict({ ...found, reliable_range_per_um2: [1.8, 2.3] }), /up to 2 \(1.8 to 2.3\) emitters/);
  assert.match(verdict({ ...found, reliable_per_um2: 0 }), /^Not reliable/);
});

test("the contrast ignores hot pixels and survives an even frame", () => {
  const pixels = new Uint16Array(10_000).map((_, i) => 100 + (i % 50));
  pixels[77] = 65_535;
  const { low, high } = robustRange(pixels);
  assert.ok(low >= 100 && low < 105 && high < 160);
  assert.deepEqual(robustRange(new Uint16Array(16).fill(9)), { low: 9, high: 10 });
});

test("an upload goes on only for the same file", () => {
  const file = { name: "a.tif", size: 10, lastModified: 5 };
  assert.equal(uploadKey(file, "movie"), uploadKey({ ...file }, "movie"));
  for (const other of [{ size: 11 }, { lastModified: 6 }, { name: "b.tif" }]) {
    assert.notEqual(uploadKey(file, "movie"), uploadKey({ ...file, ...other }, "movie"));
  }
  assert.notEqual(uploadKey(file, "movie"), uploadKey(file, "table"));
});

test("the page keeps to its content security policy and loads nothing from elsewhere", () => {
  const html = readFileSync(new URL("./index.html", import.meta.url), "utf8");
  assert.doesNotMatch(html, /\sstyle=|<style|\son[a-z]+=|https?:/i);
  assert.doesNotMatch(html, /<script(?![^>]*\ssrc=)/i);
  const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
});
