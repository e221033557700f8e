// The answer of a titration: scores against density, the verdict, the table.

import { sized } from "./viewport.js";
import { shortNumber } from "./filter_panel.js";

const LINES = [
  ["chance_f1", "--chance"],
  ["precision", "--precision"],
  ["recall", "--recall"],
  ["f1", "--f1"],
];
const HEADS = [
  ["factor", "frames"], ["density_per_um2", "per µm²"], ["f1", "F1"], ["recall", "recall"],
  ["precision", "precision"], ["chance_f1", "chance F1"], ["count_error", "count"], ["n_emitters", "labels"],
];

/** One sentence about how far the model can be trusted. */
export function verdict(found) {
  const own = found.density_per_um2;
  const limit = found.reliable_per_um2;
  if (!(limit > 0)) {
    return `Not reliable (F1 of at least ${found.reliable_f1}) at any density, not in this movie as it is (${shortNumber(own)} emitters per µm² and frame). Brighter emitters, less background or a model trained for this microscope would help.`;
  }
  const least = found.is_bounded ? "" : "at least ";
  const [from, to] = found.reliable_range_per_um2 ?? [];
  const range = from < to ? ` (${shortNumber(from)} to ${shortNumber(to)})` : "";
  return `Reliable (F1 of at least ${found.reliable_f1}) up to ${least}${shortNumber(limit)}${range} emitters per µm² and frame. This movie is at ${shortNumber(own)}: you could image ${least || "about "}${(limit / own).toFixed(1)} times faster.`;
}

/** Show a titration (titration.json) in `parts`; null empties the view. */
export function showTitration(found, parts) {
  parts.empty.hidden = Boolean(found);
  parts.body.hidden = !found;
  if (!found) return;
  parts.verdict.textContent = verdict(found);
  parts.table.replaceChildren(toTable(found.steps));
  parts.notes.replaceChildren(...(found.notes ?? []).map((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    return item;
  }));
  drawTitration(parts.canvas, found);
}

function toTable(steps) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const [, title] of HEADS) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = title;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const step of steps) {
    const row = body.insertRow();
    for (const [name] of HEADS) row.insertCell().textContent = cellText(name, step[name]);
  }
  return table;
}

function cellText(name, value) {
  if (value === null || value === undefined) return "–";
  if (name === "count_error") return `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(1)} %`;
  if (name === "factor" || name === "n_emitters") return String(value);
  return name === "density_per_um2" ? shortNumber(value) : value.toFixed(3);
}

/** Draw the scores of the steps over the density (logarithmic). */
export function drawTitration(canvas, found) {
  const { context, ratio, width, height } = sized(canvas);
  context.clearRect(0, 0, width, height);
  if (!canvas.clientWidth || !found.steps.length) return;
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const densities = found.steps.map((step) => step.density_per_um2);
  const least = Math.min(...densities) / 1.15;
  const most = Math.max(...densities) * 1.15;
  const box = { left: 44 * ratio, right: width - 14 * ratio, top: 10 * ratio, bottom: height - 40 * ratio };
  const x = (density) => box.left
    + (Math.log(density / least) / Math.log(most / least)) * (box.right - box.left);
  const y = (score) => box.bottom - score * (box.bottom - box.top);
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.lineWidth = ratio;
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    context.strokeStyle = color("--line");
    line(context, box.left, y(tick), box.right, y(tick));
    context.fillStyle = color("--soft");
    context.textAlign = "right";
    context.fillText(tick.toFixed(2), box.left - 8 * ratio, y(tick) + 4 * ratio);
  }
  context.textAlign = "center";
  for (const density of densities) context.fillText(shortNumber(density), x(density), box.bottom + 17 * ratio);
  context.fillText("emitters per µm² and frame", (box.left + box.right) / 2, height - 5 * ratio);
  context.setLineDash([5 * ratio, 4 * ratio]);
  context.strokeStyle = color("--soft");
  line(context, box.left, y(found.reliable_f1), box.right, y(found.reliable_f1));
  if (found.reliable_per_um2 > least) {
    line(context, x(found.reliable_per_um2), y(0), x(found.reliable_per_um2), y(found.reliable_f1));
  }
  context.setLineDash([]);
  for (const [name, tint] of LINES) {
    context.strokeStyle = context.fillStyle = color(tint);
    context.lineWidth = (name === "f1" ? 2.5 : 1.5) * ratio;
    context.beginPath();
    for (const step of found.steps) {
      if (step[name] !== null) context.lineTo(x(step.density_per_um2), y(step[name]));
    }
    context.stroke();
    for (const step of found.steps) {
      if (step[name] === null) continue;
      context.beginPath();
      context.arc(x(step.density_per_um2), y(step[name]), (name === "f1" ? 4 : 3) * ratio, 0, 7);
      context.fill();
    }
  }
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
