// Analyses: the list of all, and following the one on show.

import * as api from "./api.js";
import { durationText } from "./results_view.js";

export const KINDS = {
  localize: "Localize", predict: "Count map", doctor: "Camera and PSF", titrate: "Titrate",
  evaluate: "Score", live: "Live",
};
const STATES = {
  waiting: "waits", running: "runs", done: "done", failed: "failed", cancelled: "cancelled",
};
const STAGES = {
  open: "Reading the movie", normalize: "Measuring the brightness", normalization: "Measuring the brightness",
  doctor: "Looking at camera and PSF", estimate: "Estimating the camera", predict: "Network", localize: "Localizing",
  fit: "Fitting", write: "Writing", titrate: "Titrating", evaluate: "Scoring", score: "Scoring",
  overlays: "Drawing frames", live: "Following", compile: "Preparing the fit (a minute or two, once after the installation)",
};

export const hasEnded = (job) => ["done", "failed", "cancelled"].includes(job.state);

/** What a job is about, in a line. */
export function title(job, movieName) {
  return `${KINDS[job.kind] ?? job.kind}${movieName ? ` · ${movieName}` : ""}`;
}

/** Progress in words: stage, count, rate, time left. */
export function progressText(progress) {
  if (!progress) return "Getting ready…";
  const unit = progress.unit ? ` ${progress.unit}` : "";
  const stage = STAGES[progress.stage] ?? progress.stage;
  if (!progress.total) return stage;
  const parts = [`${stage}: ${progress.done} of ${progress.total}${unit}`];
  if (progress.stage === "live") return `${parts[0]}${progress.done >= progress.total ? " · waits for more" : ""}`;
  if (progress.done >= progress.total) return `${parts[0]} · the next step is being prepared`;
  if (progress.rate) parts.push(`${+progress.rate.toPrecision(3)}${unit}/s`);
  if (progress.left_s !== null && progress.left_s > 0) parts.push(`about ${durationText(progress.left_s)} left`);
  return parts.join(" · ");
}

/** Follows one job; tells about its state, progress and rows. */
export class JobFollower {
  constructor({ onJob, onProgress, onRows, onLost }) {
    Object.assign(this, { onJob, onProgress, onRows, onLost });
    this.controller = null;
  }

  stop() {
    this.controller?.abort();
    this.controller = null;
  }

  /** Follow until the end; resolves then. */
  async follow(jobId) {
    this.stop();
    const controller = new AbortController();
    this.controller = controller;
    await api.followJob(jobId, (name, value) => {
      if (controller.signal.aborted) return;
      if (name === "state") this.onJob(value);
      else if (name === "progress") this.onProgress(value);
      else if (name === "rows") this.onRows(value.rows);
      else if (name === "lost") this.onLost();
    }, controller.signal);
    if (!controller.signal.aborted) this.onJob(await api.job(jobId));
  }
}

/** Fills a table with the rows of a source, as far as they are; asks again while more may come. */
export class RowLoader {
  constructor(table, changed) {
    this.table = table;
    this.changed = changed;
    this.source = null;
    this.running = null;
    this.again = false;
  }

  /** Begin with another source: "/jobs/ID", "/tables/ID", or null for none. */
  open(source) {
    this.source = source;
    this.table.clear();
    this.changed();
  }

  /** Load what is there by now; `rows` is how many the server says there are. */
  load(rows = Infinity) {
    this.again = Boolean(this.running);
    this.running ??= this._loadAll(rows).finally(() => { this.running = null; });
    return this.running;
  }

  async _loadAll(rows) {
    do {
      this.again = false;
      await this._load(rows);
    } while (this.again);
  }

  async _load(rows) {
    const source = this.source;
    if (!source) return;
    if (rows < this.table.length) this.table.clear(); // the job began anew
    for (;;) {
      const answer = await api.rows(source, this.table.length);
      if (source !== this.source) return void (this.again = true);
      if (!answer.count) return;
      this.table.append(answer.columns, answer.values);
      this.changed();
    }
  }
}

/** The list of all analyses, the newest first. */
export class History {
  constructor(list, { open, remove, movieName }) {
    Object.assign(this, { list, open, remove, movieName });
    this.jobs = [];
    this.currentId = null;
  }

  async refresh() {
    this.jobs = await api.jobs();
    this.draw();
  }

  /** Take the newest state of one job. */
  update(job) {
    const at = this.jobs.findIndex(({ job_id }) => job_id === job.job_id);
    if (at < 0) this.jobs.unshift(job);
    else this.jobs[at] = job;
    this.draw();
  }

  draw() {
    const focus = this.list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    if (!this.jobs.length) {
      const item = document.createElement("li");
      item.className = "note";
      item.textContent = "Analyses appear here.";
      this.list.replaceChildren(item);
      return;
    }
    this.list.replaceChildren(...this.jobs.map((job) => this._entry(job)));
    if (this.shownId !== this.currentId) {
      this.shownId = this.currentId;
      this.list.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
    }
    if (focus) this.list.querySelector(`[data-key="${focus}"]`)?.focus();
  }

  _entry(job) {
    const item = document.createElement("li");
    item.className = "entry";
    const open = document.createElement("button");
    Object.assign(open, { type: "button", className: "open quiet" });
    open.dataset.key = `open-${job.job_id}`;
    open.setAttribute("aria-current", String(job.job_id === this.currentId));
    const piece = (name, text) => {
      const made = document.createElement("span");
      made.className = name;
      made.textContent = text;
      return made;
    };
    open.append(
      piece("what", title(job, this.movieName(job))),
      piece(`mark ${job.state}`, STATES[job.state] ?? job.state),
      piece("when", when(job)),
    );
    open.addEventListener("click", () => this.open(job));
    item.append(open);
    if (hasEnded(job)) {
      const remove = document.createElement("button");
      Object.assign(remove, { type: "button", className: "drop-job quiet", textContent: "×" });
      remove.dataset.key = `drop-${job.job_id}`;
      remove.setAttribute("aria-label", `Delete ${title(job, this.movieName(job))}`);
      remove.addEventListener("click", () => this.remove(job));
      item.append(remove);
    }
    return item;
  }
}

/** When it was made, and how much was found. */
export function when(job) {
  const made = new Date(job.created);
  const text = made.toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const rows = job.summary?.localizations ?? job.rows;
  return rows ? `${text} · ${new Intl.NumberFormat("en").format(rows)} found` : text;
}
