// Upload in pieces: goes on after a lost connection, and after the page was closed.

import * as api from "./api.js";

const TRIES = 8;

/** Key under which an unfinished upload is remembered: the same file again goes on. */
export function uploadKey(file, role) {
  return `hdsmlm-upload:${role}:${file.name}:${file.size}:${file.lastModified}`;
}

async function begin(file, role) {
  const key = uploadKey(file, role);
  const known = localStorage.getItem(key);
  if (known) {
    try {
      const state = await api.uploadState(known);
      if (state.size === file.size && state.offset < state.size) {
        return { chunk_bytes: 4 * 2 ** 20, ...state, upload_id: known };
      }
    } catch {
      // forgotten by the server: begin anew
    }
    localStorage.removeItem(key);
  }
  const state = await api.newUpload(file.name, file.size, role);
  localStorage.setItem(key, state.upload_id);
  return state;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const mayPass = (error) => error.status === 0 || error.status === 429 || error.status >= 500;

/**
 * Upload a file; resolves to the server's last answer, with movie_id or table_id.
 * `progress({done, total, bytes_per_s, waiting})` is told after each piece.
 */
export async function upload(file, role, progress, signal) {
  if (file.size === 0) throw new Error(`${file.name} is empty; choose the movie itself.`);
  const state = await begin(file, role);
  const key = uploadKey(file, role);
  let offset = state.offset;
  let tries = 0;
  const began_ms = performance.now();
  const first = offset;
  progress({ done: offset, total: file.size, bytes_per_s: null, waiting: false });
  while (offset < file.size) {
    try {
      const piece = file.slice(offset, Math.min(file.size, offset + state.chunk_bytes));
      const answer = await api.sendChunk(state.upload_id, offset, piece, signal);
      tries = 0;
      offset = answer.offset;
      const seconds = (performance.now() - began_ms) / 1000;
      const bytes_per_s = seconds > 0.2 ? (offset - first) / seconds : null;
      progress({ done: offset, total: file.size, bytes_per_s, waiting: false });
      if (answer.movie_id || answer.table_id) {
        localStorage.removeItem(key);
        return answer;
      }
    } catch (error) {
      if (signal?.aborted) throw error;
      if (error.status === 409) {
        offset = (await api.uploadState(state.upload_id)).offset; // it has more or less than we thought
      } else if (!mayPass(error)) {
        localStorage.removeItem(key);
        throw error;
      }
      tries += 1;
      if (tries > TRIES) throw error;
      progress({ done: offset, total: file.size, bytes_per_s: null, waiting: true });
      await pause(Math.min(10_000, 250 * 2 ** tries));
      if (error.status !== 409) {
        offset = await api.uploadState(state.upload_id).then((now) => now.offset, () => offset);
      }
    }
  }
  localStorage.removeItem(key);
  return api.uploadState(state.upload_id);
}
