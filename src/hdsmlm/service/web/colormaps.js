// Colour tables of 256 RGB triples, interpolated between a few points.

const POINTS = {
  // black, violet, orange, white: faint structure stays visible
  glow: ["#000000", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4"],
  gray: ["#000000", "#ffffff"],
  // even in lightness and safe for colour-blind readers
  viridis: ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"],
  // of one lightness, so that brightness is left for the number of localizations
  spectrum: ["#5b7cff", "#27a8f5", "#19c7c0", "#3fd983", "#9ee04c", "#e6cf3a", "#ff9f43", "#ff6b5e", "#f0569f"],
};

function channels(hex) {
  const value = Number.parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** Return a colour table (Uint8Array of 3 × 256) by name. */
export function colormap(name) {
  const points = POINTS[name].map(channels);
  const table = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (points.length - 1);
    const left = Math.min(points.length - 2, Math.floor(at));
    for (let c = 0; c < 3; c++) {
      const value = points[left][c] + (at - left) * (points[left + 1][c] - points[left][c]);
      table[3 * i + c] = Math.round(value);
    }
  }
  return table;
}

/** Colours of the comparison with the truth, and of plain localizations. */
export const MARKS = {
  correct: "#b57bff",
  missed: "#ff5a5a",
  false: "#4da3ff",
  found: "#6df0c2",
};

/** Paint a colour table into a canvas from left to right. */
export function paintBar(canvas, name) {
  const table = colormap(name);
  canvas.width = 256;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    image.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}
