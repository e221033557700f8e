// The page as a whole: which movie and which analysis are on show, and who is told of changes.

import * as api from "./api.js";
import { DensityView } from "./density_view.js";
import { FilterPanel } from "./filter_panel.js";
import { GaugeView } from "./gauge_view.js";
import { History, JobFollower, KINDS, RowLoader, hasEnded, progressText, title, when } from "./jobs.js";
import { MovieView } from "./movie_view.js";
import { $, askToken, tell, wireDrop, wireTabs, wireTheme } from "./page.js";
import { Picture } from "./picture.js";
import { TABLE_FORMATS, WITH_ROWS, durationText, showResults, sizeText } from "./results_view.js";
import { ServerFiles } from "./server_files.js";
import { StartForm } from "./start_form.js";
import { LocalizationTable } from "./table.js";
import { showTitration } from "./titration_view.js";
import { upload } from "./upload.js";
import { inPageWords } from "./words.js";

const HEALTH_EVERY_MS = 8_000;
const TRUTH_KEY = "hdsmlm-truth";

const table = new LocalizationTable();
const truth = new LocalizationTable();
let movies = [];
let movie = null;
let job = null;
let titration = null;
let stoppingId = null;
let view = "movie-view";

const filters = new FilterPanel(
  table,
  { box: $("filters"), text: $("selected"), reset: $("reset-filters") },
  () => redrawView(),
);
const movieView = new MovieView({
  canvas: $("frame"), legend: $("legend"), empty: $("movie-empty"), slider: $("frame-slider"),
  play: $("play"), number: $("frame-number"), fps: $("fps"), contrast: $("contrast"),
  autoContrast: $("auto-contrast"), showProbability: $("show-probability"),
  showPoints: $("show-points"), showTruth: $("show-truth"),
}, table, truth, filters, tell);
const picture = new Picture(table, filters, {
  canvas: $("picture"), empty: $("picture-empty"), text: $("picture-text"), colors: $("picture-colors"),
  colorLow: $("color-low"), colorHigh: $("color-high"), colorCanvas: $("color-canvas"),
  colorBy: $("color-by"), blur: $("blur"), brightness: $("brightness"), fit: $("fit"),
  exportPixel: $("export-pixel"),
});
const density = new DensityView(table, filters, {
  canvas: $("density"), empty: $("density-empty"), text: $("density-text"), colors: $("density-colors"),
  high: $("density-high"), bar: $("density-canvas"), perFrame: $("per-frame"), cell: $("cell"),
});
const titrationParts = {
  empty: $("titration-empty"), body: $("titration-body"), verdict: $("titration-verdict"),
  canvas: $("titration-chart"), table: $("titration-table"), notes: $("titration-notes"),
};
const rows = new RowLoader(table, () => {
  if (job?.kind === "live") layOutLive();
  filters.refresh();
});
const truthRows = new RowLoader(truth, () => redrawView());
const follower = new JobFollower({
  onJob: (now) => takeJob(now),
  onProgress: (progress) => showProgress({ ...job, progress }),
  onRows: (count) => rows.load(count).catch(tell),
  onLost: () => { $("job-text").textContent = "The connection was lost; trying again…"; },
});
const history = new History($("history"), {
  open: (chosen) => openJob(chosen).catch(tell),
  remove: (chosen) => removeJob(chosen).catch(tell),
  movieName: (of) => movies.find(({ movie_id }) => movie_id === of.movie_id)?.name
    ?? of.path?.split(/[\\/]/).pop() ?? "",
});
const form = new StartForm(startJob, tell);
const gauge = new GaugeView(api.gauge);
new ServerFiles(takeServerMovie, followLive, tell);
const showView = wireTabs((id) => {
  view = id;
  redrawView();
});

function redrawView() {
  if (view === "movie-view") movieView.redraw();
  else if (view === "picture-view") picture.redraw();
  else if (view === "density-view") density.redraw();
  else if (view === "titration-view") showTitration(titration, titrationParts);
}

/** Side of a pixel: as the analysis used it, else as the movie or the reader says. */
function pixelSize() {
  return job?.pixel_size_nm ?? job?.summary?.pixel_size_nm ?? job?.summary?.camera?.pixel_size_nm
    ?? movie?.pixel_size_nm ?? (Number($("pixel").value) || 100);
}

function layOut() {
  const pixel_nm = pixelSize();
  movieView.show(movie, pixel_nm);
  if (!movie || job?.kind === "live") return;
  picture.setField(movie.width * pixel_nm, movie.height * pixel_nm);
  density.setField(movie.width * pixel_nm, movie.height * pixel_nm, movie.frames);
}

/** A live job has no movie here: its field is as large as what was found in it, in steps. */
function layOutLive() {
  const step_nm = 2000;
  const side = (name) => {
    const most = table.column(name).reduce((a, b) => Math.max(a, b), 1);
    return Math.ceil(most / step_nm) * step_nm;
  };
  picture.setField(side("x_nm"), side("y_nm"));
  const last = table.column("frame").reduce((a, b) => Math.max(a, b), 0);
  density.setField(side("x_nm"), side("y_nm"), last + 1);
}

async function refreshMovies(chosenId) {
  movies = await api.movies();
  const first = new Option(movies.length ? "choose…" : "none yet", "");
  $("movies").replaceChildren(first, ...movies.map(({ movie_id, name, frames, height, width, created }) => (
    new Option(`${name} (${frames} × ${height} × ${width}) · ${when({ created })}`, movie_id)
  )));
  $("movies").value = chosenId ?? movie?.movie_id ?? "";
}

function chooseMovie(movieId) {
  movie = movies.find(({ movie_id }) => movie_id === movieId) ?? null;
  $("movies").value = movie?.movie_id ?? "";
  form.setReady(Boolean(movie));
  $("movie-remark").hidden = !movie?.remark;
  $("movie-remark").textContent = movie?.remark ? `${movie.name}: ${movie.remark} (under Options).` : "";
  if (movie?.remark) $("options").open = true;
  else $("option-truncated").checked = false;
  $("pixel").placeholder = movie?.pixel_size_nm ? `${+movie.pixel_size_nm.toPrecision(4)} (file)` : "type it";
  if (!movie || job?.movie_id !== movie.movie_id) closeJob();
  layOut();
  openTruth(movie ? JSON.parse(localStorage.getItem(TRUTH_KEY) ?? "{}")[movie.movie_id] : null);
}

async function uploadMovie(file) {
  tell("");
  const started = performance.now();
  const done = await upload(file, "movie", showUpload).catch((error) => {
    $("upload-bar").value = 0;
    $("upload-text").textContent = `${file.name} was not taken.`;
    throw error;
  });
  const seconds = (performance.now() - started) / 1000;
  $("upload-text").textContent = `${file.name}: ${sizeText(file.size)} in ${durationText(seconds)}`;
  await refreshMovies(done.movie_id);
  chooseMovie(done.movie_id);
  showView("movie-view");
}

function showUpload({ done, total, bytes_per_s, waiting }) {
  $("upload-bar").value = done / total;
  const rate = bytes_per_s ? ` · ${sizeText(bytes_per_s)}/s · ${durationText((total - done) / bytes_per_s)} left` : "";
  $("upload-text").textContent = waiting
    ? "The connection was lost; trying again…"
    : `${sizeText(done)} of ${sizeText(total)}${done < total ? rate : " · checking the movie"}`;
}

async function uploadTruth(file) {
  if (!movie) throw new Error("Choose the movie first to which this truth belongs.");
  $("truth-label").firstChild.textContent = "Reading…";
  try {
    const { table_id } = await upload(file, "table", () => {});
    const known = JSON.parse(localStorage.getItem(TRUTH_KEY) ?? "{}");
    localStorage.setItem(TRUTH_KEY, JSON.stringify({ ...known, [movie.movie_id]: table_id }));
    await openTruth(table_id);
  } finally {
    $("truth-label").firstChild.textContent = "Add truth…";
  }
}

async function openTruth(tableId) {
  truthRows.open(tableId ? `/tables/${tableId}` : null);
  const box = $("show-truth");
  box.disabled = !tableId;
  box.checked = Boolean(tableId);
  if (!tableId) return;
  try {
    await truthRows.load();
  } catch (error) {
    box.disabled = true;
    box.checked = false;
    if (error.status !== 404) tell(error);
  }
  showOutcome();
}

function closeJob() {
  follower.stop();
  job = titration = null;
  history.currentId = null;
  rows.open(null);
  movieView.setJob(null);
  filters.reset();
  showProgress(null);
  showOutcome();
  history.draw();
}

async function openJob(chosen) {
  tell("");
  follower.stop();
  job = chosen;
  titration = null;
  history.currentId = job.job_id;
  if (job.movie_id && movie?.movie_id !== job.movie_id) chooseMovie(job.movie_id);
  const source = WITH_ROWS.includes(job.kind) ? job : null;
  rows.open(source && `/jobs/${job.job_id}`);
  movieView.setJob(source && job.job_id);
  filters.reset();
  takeJob(job);
  if (!hasEnded(job)) {
    if (source) showView("picture-view");
    await follower.follow(job.job_id);
  } else {
    if (source) await rows.load();
    showOutcome();
    await showAnswer(true);
  }
}

/**
 * Turn to the view that answers the analysis that has just ended, or was opened from the history;
 * who looks at the frames or the density while one ends is left there.
 */
async function showAnswer(wasOpened = false) {
  const of = job;
  if (of.kind === "titrate" && of.state === "done") {
    const found = await api.titration(of.job_id);
    if (job?.job_id !== of.job_id) return;
    titration = found;
    showView("titration-view");
  } else if (!WITH_ROWS.includes(of.kind) || !table.length) showView("results-view");
  else if (wasOpened || !["movie-view", "density-view"].includes(view)) showView("picture-view");
}

/** Take the newest state of the job on show. */
function takeJob(now) {
  if (job?.job_id !== now.job_id) return;
  const hadEnded = hasEnded(job);
  job = now;
  history.update(job);
  layOut();
  showProgress(job);
  showOutcome();
  if (hadEnded || !hasEnded(job)) return;
  rows.load().then(() => {
    showOutcome();
    return showAnswer();
  }).catch(tell);
  watchServer.soon?.();
}

function showProgress(now) {
  const states = { waiting: "waits for its turn", running: "runs", done: "is done", failed: "failed", cancelled: "was cancelled" };
  gauge.follow(now?.kind === "live" && !hasEnded(now) ? now : null, (one) => hasEnded(one));
  $("job-state").classList.toggle("failed", now?.state === "failed");
  const isLive = now?.kind === "live";
  $("cancel").textContent = isLive ? "Stop" : "Cancel";
  $("job-state").textContent = now
    ? `${KINDS[now.kind] ?? now.kind} ${isLive && now.state === "cancelled" ? "was stopped" : states[now.state]}`
    : "Nothing runs.";
  const progress = now?.progress;
  $("job-bar").value = now?.state === "done" ? 1 : progress?.total ? progress.done / progress.total : 0;
  const took = now?.ended && now.started ? (Date.parse(now.ended) - Date.parse(now.started)) / 1000 : null;
  $("job-state").title = $("job-state").textContent;
  $("job-text").textContent = !now ? "" : now.state === "failed" ? inPageWords(now.error ?? "") : hasEnded(now)
    ? (took === null ? "" : `took ${durationText(took)}`)
    : stoppingId === now.job_id ? "Stopping…" : progressText(progress);
  $("cancel").disabled = !now || hasEnded(now) || stoppingId === now.job_id;
}

function showOutcome() {
  const isStopped = job?.kind === "live" && hasEnded(job) && table.length > 0; // what came until then is a table
  const saveable = job && WITH_ROWS.includes(job.kind) && (job.state === "done" || isStopped);
  for (const button of $("tables").children) button.disabled = !saveable;
  const known = movie && JSON.parse(localStorage.getItem(TRUTH_KEY) ?? "{}")[movie.movie_id];
  showResults(job, { empty: $("results-empty"), body: $("results-body") }, {
    title: (of) => title(of, history.movieName(of)),
    useCamera: (of) => form.useDoctor(of, movie?.name ?? "the movie"),
    score: known && truth.length ? (of) => score(of, known).catch(tell) : null,
    failed: tell,
  });
}

async function startJob(wanted) {
  tell("");
  const started = await api.startJob({ ...wanted, movie_id: movie.movie_id });
  history.update(started);
  openJob(started).catch(tell);
}

async function takeServerMovie(path) {
  const taken = await api.addMovie(path);
  await refreshMovies(taken.movie_id);
  chooseMovie(taken.movie_id);
  showView("movie-view");
}

async function followLive(path) {
  tell("");
  const wanted = form.wanted();
  const { sigma_px, threshold } = wanted.options;
  const started = await api.startJob({
    kind: "live", path, model: wanted.model, camera: wanted.camera, pixel_size_nm: wanted.pixel_size_nm,
    options: { sigma_px, threshold }, // what is undefined is not sent
  });
  history.update(started);
  openJob(started).catch(tell);
}

async function score(of, truthId) {
  const started = await api.startJob({
    kind: "evaluate", movie_id: of.movie_id, truth_id: truthId, pixel_size_nm: pixelSize(), options: { job_id: of.job_id },
  });
  history.update(started);
  await openJob(started);
}

async function removeJob(chosen) {
  if (!confirm(`Delete ${title(chosen, history.movieName(chosen))} with all its results?`)) return;
  await api.deleteJob(chosen.job_id);
  if (chosen.job_id === job?.job_id) closeJob();
  await history.refresh();
}

const stem = () => ((job ? history.movieName(job) : movie?.name) || "localizations").replace(/\.[^.]*$/, "");

function wire() {
  const attempt = (act) => (...given) => Promise.resolve().then(() => act(...given)).catch(tell);
  const taken = attempt((file) => file && uploadMovie(file));
  $("file").addEventListener("change", () => {
    taken($("file").files[0]);
    $("file").value = "";
  });
  wireDrop(taken);
  $("alert-close").addEventListener("click", () => tell(""));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tell(""); });
  $("movies").addEventListener("change", () => chooseMovie($("movies").value));
  $("truth-file").addEventListener("change", attempt(async () => {
    const [file] = $("truth-file").files;
    if (file) await uploadTruth(file);
    $("truth-file").value = "";
  }));
  $("pixel").addEventListener("change", () => { if (!job) layOut(); });
  $("cancel").addEventListener("click", attempt(async () => {
    stoppingId = job.job_id;
    showProgress(job);
    takeJob(await api.cancelJob(job.job_id));
  }));
  $("save-png").addEventListener("click", attempt(async () => api.saveBlob(await picture.png(), `${stem()}_picture.png`)));
  $("save-tiff").addEventListener("click", attempt(() => api.saveBlob(picture.tiff(), `${stem()}_picture_${$("export-pixel").value}nm.tif`)));
  $("tables").append(...TABLE_FORMATS.map(([format, text, suffix]) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "quiet", textContent: text, disabled: true });
    button.addEventListener("click", attempt(() => api.download(api.tablePath(job.job_id, format), stem() + suffix)));
    return button;
  }));
}

async function watchServer() {
  try {
    const { worker, queue, version } = await api.health();
    const waiting = queue.waiting ? `, ${queue.waiting} waiting` : "";
    $("server").textContent = !worker.alive ? "worker is not running" : queue.running ? `working${waiting}` : `ready · ${version}`;
    $("server").className = worker.alive ? "pill good" : "pill bad";
    if (!form.models.length) await begin();
  } catch (error) {
    $("server").textContent = "no connection";
    $("server").className = "pill bad";
    $("server").title = error.message;
  }
  clearTimeout(watchServer.timer);
  watchServer.timer = setTimeout(watchServer, HEALTH_EVERY_MS);
}
watchServer.soon = () => setTimeout(watchServer, 1500);

async function begin() {
  await Promise.all([form.load(), refreshMovies(), history.refresh()]);
  history.draw();
  const running = history.jobs.find((one) => !hasEnded(one));
  if (running && !job) openJob(running).catch(tell);
  else if (movies.length && !movie) chooseMovie(movies[0].movie_id);
}

api.onTokenNeeded(askToken);
wireTheme(() => {
  filters.draw();
  redrawView();
});
wire();
watchServer();

/** For tests and measurements from the browser's console. */
globalThis.hdsmlm = { table, filters, picture, rows, layOut };
