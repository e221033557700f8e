// A 32-bit float TIFF for measurements, as Fiji reads it.

const ENTRY_BYTES = 12;

/**
 * Write one grey image, row by row, as an uncompressed little-endian TIFF of 32-bit floats.
 * The pixel size stands in the resolution (pixels per µm) and in ImageJ's description.
 */
export function floatTiff(values, width, height, pixel_nm, note = "") {
  if (values.length !== width * height) throw new RangeError("values must be width × height");
  const text = new TextEncoder().encode(
    `ImageJ=1.53t\nunit=um\nmin=0\nmax=${values.reduce((a, b) => Math.max(a, b), 0)}\n${note}\0`,
  );
  const tags = [
    [256, 4, 1, width],
    [257, 4, 1, height],
    [258, 3, 1, 32],
    [259, 3, 1, 1],
    [262, 3, 1, 1],
    [270, 2, text.length, "text"],
    [273, 4, 1, "data"],
    [277, 3, 1, 1],
    [278, 4, 1, height],
    [279, 4, 1, values.length * 4],
    [282, 5, 1, "resolution"],
    [283, 5, 1, "resolution"],
    [296, 3, 1, 1], // the unit is in the description
    [339, 3, 1, 3], // floating point
  ];
  const after = 8 + 2 + tags.length * ENTRY_BYTES + 4;
  const at = { text: after };
  at.resolution = after + text.length + (text.length % 2);
  at.data = Math.ceil((at.resolution + 8) / 4) * 4;
  const buffer = new ArrayBuffer(at.data + values.length * 4);
  const view = new DataView(buffer);
  new Uint8Array(buffer).set([0x49, 0x49, 42, 0]);
  view.setUint32(4, 8, true);
  view.setUint16(8, tags.length, true);
  tags.forEach(([tag, type, count, value], i) => {
    const entry = 10 + i * ENTRY_BYTES;
    view.setUint16(entry, tag, true);
    view.setUint16(entry + 2, type, true);
    view.setUint32(entry + 4, count, true);
    if (typeof value === "string") view.setUint32(entry + 8, at[value], true);
    else if (type === 3) view.setUint16(entry + 8, value, true);
    else view.setUint32(entry + 8, value, true);
  });
  new Uint8Array(buffer).set(text, at.text);
  view.setUint32(at.resolution, Math.round(1e6 / pixel_nm) * 1000, true);
  view.setUint32(at.resolution + 4, 1e6, true);
  for (let i = 0; i < values.length; i++) view.setFloat32(at.data + 4 * i, values[i], true);
  return buffer;
}
