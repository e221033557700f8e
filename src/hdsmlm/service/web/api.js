// The REST interface of the server: one function per address, errors as sentences.

const PREFIX = "/api/v1";
const TOKEN_KEY = "hdsmlm-token";

/** An answer that is an error; `message` is meant for the reader. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let askForToken = async () => null;

/** Set the function that asks the reader for the token; it resolves to a string or null. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

export function token() {
  return globalThis.sessionStorage?.getItem(TOKEN_KEY) ?? null;
}

function withToken(headers) {
  const known = token();
  return known ? { ...headers, Authorization: `Bearer ${known}` } : headers;
}

/** Fetch an address below the prefix; resolves to a Response that is fine, else throws ApiError. */
export async function request(path, { method = "GET", headers = {}, body, signal } = {}) {
  for (;;) {
    const used = token();
    let answer;
    try {
      answer = await fetch(PREFIX + path, { method, headers: withToken(headers), body, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "unreachable",
        "The server does not answer. Is the program still running? The page goes on by itself when it is back.");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      const given = token() !== used ? token() : await askForToken(Boolean(used));
      if (given) {
        sessionStorage.setItem(TOKEN_KEY, given);
        continue;
      }
    }
    throw await toError(answer);
  }
}

async function toError(answer) {
  let told = null;
  try {
    told = (await answer.json()).error;
  } catch {
    // no JSON: an answer of something between us and the server
  }
  return new ApiError(answer.status, told?.code ?? "error",
    told?.message ?? `The server answered with status ${answer.status}. Try again; if it stays, look at the server's log.`);
}

async function json(path, options) {
  const answer = await request(path, options);
  return answer.status === 204 ? null : answer.json();
}

function send(method, path, value) {
  return json(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(value),
  });
}

export const health = () => json("/health");
export const device = () => json("/device");
export const models = () => json("/models");
export const cameras = () => json("/cameras");
export const movies = () => json("/movies");
export const movie = (id) => json(`/movies/${id}`);
export const folder = (path) => json(path === null ? "/folders" : `/folders?path=${encodeURIComponent(path)}`);
export const gauge = (id) => json(`/jobs/${id}/gauge`);
export const addMovie = (path) => send("POST", "/movies", { path });
export const deleteMovie = (id) => json(`/movies/${id}`, { method: "DELETE" });
export const jobs = () => json("/jobs");
export const job = (id) => json(`/jobs/${id}`);
export const startJob = (wanted) => send("POST", "/jobs", wanted);
export const cancelJob = (id) => json(`/jobs/${id}/cancel`, { method: "POST" });
export const deleteJob = (id) => json(`/jobs/${id}`, { method: "DELETE" });
export const results = (id) => json(`/jobs/${id}/results`);
export const titration = (id) => json(`/jobs/${id}/titration`);
export const newUpload = (name, size, role) => send("POST", "/uploads", { name, size, role });
export const uploadState = (id) => json(`/uploads/${id}`);
export const dropUpload = (id) => json(`/uploads/${id}`, { method: "DELETE" });

export function sendChunk(id, offset, blob, signal) {
  return json(`/uploads/${id}`, {
    method: "PATCH",
    headers: { "Upload-Offset": String(offset), "Content-Type": "application/octet-stream" },
    body: blob,
    signal,
  });
}

/** Fetch a frame: {pixels: Uint16Array, width, height, scale, offset}. */
export async function frame(movieId, number, signal) {
  const answer = await request(`/movies/${movieId}/frames/${number}`, { signal });
  const head = (name, otherwise) => Number(answer.headers.get(name) ?? otherwise);
  return {
    pixels: new Uint16Array(await answer.arrayBuffer()),
    width: head("X-Width"),
    height: head("X-Height"),
    scale: head("X-Scale", 1),
    offset: head("X-Offset", 0),
  };
}

/** Fetch the occupancy of a frame as Uint8Array, or null while it is not there. */
export async function occupancy(jobId, number, signal) {
  try {
    const answer = await request(`/jobs/${jobId}/occupancy/${number}`, { signal });
    return new Uint8Array(await answer.arrayBuffer());
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** Fetch binary rows from `start` on: {columns, count, start, values: Float32Array}. */
export async function rows(source, start, signal) {
  const answer = await request(`${source}/rows?start=${start}`, { signal });
  const buffer = await answer.arrayBuffer();
  return {
    columns: (answer.headers.get("X-Columns") ?? "").split(",").map((name) => name.trim()),
    count: Number(answer.headers.get("X-Rows") ?? 0),
    start: Number(answer.headers.get("X-Start") ?? start),
    values: new Float32Array(buffer),
  };
}

/** Address of a download below the prefix. */
export const tablePath = (id, format) => `/jobs/${id}/table?format=${format}`;
export const resultPath = (id, name) => `/jobs/${id}/results/${encodeURIComponent(name)}`;

/** Save an address as a file: directly, or, where a token is needed, through memory. */
export async function download(path, name) {
  if (!token()) {
    save(PREFIX + path, name);
    return;
  }
  saveBlob(await (await request(path)).blob(), name);
}

/** Save what is in memory under a name. */
export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  save(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Save what a URL holds under a name. */
export function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}

/** Split the text of an event stream into events; returns [events, rest that is not complete]. */
export function parseEvents(text) {
  const blocks = text.replace(/\r\n?/g, "\n").split("\n\n");
  const rest = blocks.pop();
  const events = [];
  for (const block of blocks) {
    const event = { event: "message", data: "", id: null };
    const data = [];
    for (const line of block.split("\n")) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (field === "event") event.event = value;
      else if (field === "data") data.push(value);
      else if (field === "id") event.id = value;
    }
    if (!data.length && event.event === "message") continue; // a comment that keeps the line open
    event.data = data.join("\n");
    events.push(event);
  }
  return [events, rest];
}

/** Follow a job; `hear(name, value)` gets each event. Reconnects; resolves when the job has ended. */
export async function followJob(id, hear, signal) {
  let last = null;
  let wait_ms = 500;
  while (!signal.aborted) {
    try {
      const headers = last === null ? {} : { "Last-Event-ID": last };
      const answer = await request(`/jobs/${id}/events`, { headers, signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        wait_ms = 500;
        const [events, rest] = parseEvents(text + value);
        text = rest;
        for (const event of events) {
          last = event.id ?? last;
          hear(event.event, event.data ? JSON.parse(event.data) : null);
          if (event.event === "end") return;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      hear("lost", null);
    }
    await new Promise((resolve) => setTimeout(resolve, wait_ms));
    wait_ms = Math.min(8000, wait_ms * 2);
  }
}
