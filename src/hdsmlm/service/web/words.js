// The words of the command line, as this page calls the same things.

const SAME = [
  [/`?hdsmlm doctor`?/g, "the task “Find camera and PSF”"],
  [/`?--camera`?/g, "Camera"],
  [/`?--kind`?/g, "Camera"],
  [/`?--sigma-px`?/g, "“PSF width” under Options"],
  [/`?--pixel-size-nm`?/g, "Pixel size"],
  [/\s*\(--allow-truncated\)/g, " (under Options)"],
  [/`?--allow-truncated`?/g, "“the frames that are there” under Options"],
  [/`?--frames`?/g, "“Frames” under Options"],
  [/`?hdsmlm (drift|render|link|filter)`?/g, "hdsmlm $1 on the command line"],
  [/^pixel_size_nm: /, "Pixel size: "],
  [/^options\.(\w+): /g, "Options, $1: "],
];

/** Return a message of the program in the words of the page. */
export function inPageWords(text) {
  return SAME.reduce((found, [from, to]) => found.replace(from, to), text ?? "");
}
