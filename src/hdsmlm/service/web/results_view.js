// Figures, notes and files of an analysis, in the words of a microscopist.

import * as api from "./api.js";
import { shortNumber } from "./filter_panel.js";
import { inPageWords } from "./words.js";

const LABELS = {
  localizations: "localizations", emitters: "emitters", blinks: "blinks", frames: "frames",
  density_per_um2: "per µm² and frame", median_photons: "photons (median)",
  median_uncertainty_nm: "nm uncertainty (median)", flagged: "flagged rows", seconds: "seconds",
  f1: "F1", knn_f1: "F1 (nearest neighbours)", recall: "recall", precision: "precision",
  rmse_nm: "nm error (RMSE)", jaccard: "Jaccard", pixel_size_nm: "nm per pixel", sigma_px: "px PSF width",
  gain_adu_per_e: "grey values per electron", baseline_adu: "baseline in grey values",
  reliable_per_um2: "reliable up to, per µm²",
};

/** What the tables of a job can be saved as. */
export const TABLE_FORMATS = [
  ["csv", "CSV", ".csv"],
  ["thunderstorm", "ThunderSTORM", ".thunderstorm.csv"],
  ["hdf5", "HDF5 (Picasso)", ".hdf5"],
  ["parquet", "Parquet", ".parquet"],
];

/** Kinds of analyses whose localizations can be shown and saved. */
export const WITH_ROWS = ["localize", "predict", "live"];

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

/** Bytes as a person says them. */
export function sizeText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let value = bytes;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at ? value.toPrecision(3) : value} ${units[at]}`;
}

/** Seconds as a person says them. */
export function durationText(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Rows of figures, as [label, text], from a summary. */
export function figures(summary) {
  const found = [];
  for (const [name, value] of Object.entries(summary ?? {})) {
    if (typeof value !== "number" || !(name in LABELS)) continue;
    const text = Number.isInteger(value) && value >= 100
      ? new Intl.NumberFormat("en").format(value)
      : shortNumber(value);
    found.push([LABELS[name], text]);
  }
  return found;
}

let calls = 0;

/** Show a job's outcome. `actions`: {useCamera(job), score(job) or null, failed(error)}. */
export async function showResults(job, parts, actions) {
  parts.empty.hidden = Boolean(job);
  parts.body.hidden = !job;
  const call = ++calls; // a later call makes this one void
  if (!job) return;
  const pieces = [element("h2", actions.title(job))];
  if (job.error) pieces.push(element("p", inPageWords(job.error), "error-box"));
  if (["waiting", "running"].includes(job.state)) pieces.push(element("p", "The answer appears here when it is done.", "note"));
  const grid = element("div", undefined, "figures");
  for (const [label, text] of figures(job.summary)) {
    const box = element("div", undefined, "figure");
    box.append(element("b", text), element("span", label));
    grid.append(box);
  }
  if (grid.childElementCount) pieces.push(grid);
  if (job.summary?.scores?.length) pieces.push(scoreTable(job.summary.scores));
  if (job.summary?.notes?.length) {
    const notes = element("ul", undefined, "notes");
    notes.append(...job.summary.notes.map((note) => element("li", inPageWords(note))));
    pieces.push(element("h3", "Remarks"), notes);
  }
  if (typeof job.summary?.text === "string") {
    pieces.push(element("h3", "Report"), element("pre", job.summary.text));
  }
  if (job.state === "done" && job.kind === "doctor") {
    pieces.push(button("Use this camera for the next analysis", () => actions.useCamera(job)));
  }
  if (actions.score && job.state === "done" && ["localize", "predict"].includes(job.kind)) {
    pieces.push(button("Score against the truth", () => actions.score(job)));
  }
  parts.body.replaceChildren(...pieces);
  if (job.state !== "done" && job.state !== "cancelled") return;
  try {
    const files = await api.results(job.job_id);
    if (call === calls && files.length) parts.body.append(element("h3", "Files"), list(job, files, actions));
  } catch (error) {
    actions.failed(error);
  }
}

const SCORES = [
  ["metric", "score"], ["f1", "F1"], ["chance_f1", "by chance"], ["recall", "recall"],
  ["precision", "precision"], ["jaccard", "Jaccard"], ["rmse_nm", "error in nm"],
];

function scoreTable(scores) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const [, text] of SCORES) {
    const cell = element("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const score of scores) {
    const row = body.insertRow();
    for (const [name] of SCORES) {
      const value = name === "metric" && score.pairing ? `${score.metric}, ${score.pairing}` : score[name];
      row.insertCell().textContent = typeof value === "string" ? value
        : typeof value !== "number" ? "–" : name === "rmse_nm" ? value.toFixed(1) : value.toFixed(3);
    }
  }
  return table;
}

function list(job, files, actions) {
  const made = element("ul", undefined, "files");
  for (const file of files) {
    const item = element("li");
    const save = button(file.name, () => {
      api.download(api.resultPath(job.job_id, file.name), file.name.split("/").pop()).catch(actions.failed);
    });
    item.append(save, element("span", `${file.what} · ${sizeText(file.size_bytes)}`, "note"));
    made.append(item);
  }
  return made;
}

function button(text, act) {
  const made = element("button", text, "quiet");
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}
