// Localizations as columns of 32-bit floats that grow; an index by frame.

export const COLUMNS = [
  "frame", "x_nm", "y_nm", "z_nm", "photons", "uncertainty_xy_nm", "background", "probability",
];

/** A table of localizations, column by column. */
export class LocalizationTable {
  constructor() {
    this.length = 0;
    this.version = 0;
    this.columns = Object.fromEntries(COLUMNS.map((name) => [name, new Float32Array(1024)]));
    this._index = null;
  }

  /** Add row-major values with the given column names. */
  append(names, values) {
    const width = names.length;
    const count = Math.floor(values.length / width);
    if (!count) return;
    this._reserve(this.length + count);
    for (const name of COLUMNS) {
      const from = names.indexOf(name);
      const column = this.columns[name];
      if (from < 0) {
        column.fill(NaN, this.length, this.length + count);
        continue;
      }
      for (let i = 0, at = from, to = this.length; i < count; i++, at += width, to++) {
        column[to] = values[at];
      }
    }
    this.length += count;
    this._changed();
  }

  clear() {
    this.length = 0;
    this._changed();
  }

  /** View of the filled part of a column. */
  column(name) {
    return this.columns[name].subarray(0, this.length);
  }

  /** Whether any row has a value in the column. */
  has(name) {
    const column = this.column(name);
    for (let i = 0; i < column.length; i++) if (!Number.isNaN(column[i])) return true;
    return false;
  }

  /** Row numbers of a frame. */
  inFrame(frame) {
    const { starts, order } = (this._index ??= indexByFrame(this.column("frame")));
    if (frame < 0 || frame + 1 >= starts.length) return order.subarray(0, 0);
    return order.subarray(starts[frame], starts[frame + 1]);
  }

  _changed() {
    this.version += 1;
    this._index = null;
  }

  _reserve(length) {
    const capacity = this.columns.frame.length;
    if (length <= capacity) return;
    const larger = Math.max(length, 2 * capacity);
    for (const name of COLUMNS) {
      const grown = new Float32Array(larger);
      grown.set(this.column(name));
      this.columns[name] = grown;
    }
  }
}

/** Counting sort of rows by frame: rows of frame f are order[starts[f] .. starts[f + 1]). */
export function indexByFrame(frames) {
  let last = -1;
  for (let i = 0; i < frames.length; i++) if (frames[i] > last) last = frames[i];
  const starts = new Uint32Array(last + 2);
  for (let i = 0; i < frames.length; i++) starts[frames[i] + 1] += 1;
  for (let f = 0; f <= last; f++) starts[f + 1] += starts[f];
  const next = starts.slice();
  const order = new Uint32Array(frames.length);
  for (let i = 0; i < frames.length; i++) order[next[frames[i]]++] = i;
  return { starts, order };
}
