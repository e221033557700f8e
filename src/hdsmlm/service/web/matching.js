// Which localizations of a frame are right: nearest neighbours within a distance, each used once.

/**
 * Match found to true points, the nearest pairs first. Points: {x: array, y: array}.
 * Returns {pairs: [[found, true]], missed: [true], false: [found]}.
 */
export function matchNearest(found, truth, most_nm) {
  const pairs = [];
  for (let i = 0; i < found.x.length; i++) {
    for (let j = 0; j < truth.x.length; j++) {
      const dx = found.x[i] - truth.x[j];
      const dy = found.y[i] - truth.y[j];
      const squared = dx * dx + dy * dy;
      if (squared <= most_nm * most_nm) pairs.push([squared, i, j]);
    }
  }
  pairs.sort((a, b) => a[0] - b[0]);
  const usedFound = new Uint8Array(found.x.length);
  const usedTrue = new Uint8Array(truth.x.length);
  const matched = [];
  for (const [, i, j] of pairs) {
    if (usedFound[i] || usedTrue[j]) continue;
    usedFound[i] = usedTrue[j] = 1;
    matched.push([i, j]);
  }
  const left = (used) => [...used.keys()].filter((k) => !used[k]);
  return { pairs: matched, missed: left(usedTrue), false: left(usedFound) };
}
