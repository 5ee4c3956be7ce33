// Numbers in [-1, 1] as 8-bit pixels, on a canvas and in a PNG file that says how it was drawn.

const f = Math.fround;

/** (C, H, W) in [-1, 1] → 8-bit (H, W, C), as Python rounds them: to the nearest, halves to the even one. */
export function toBytes(pixels, channels) {
  const places = pixels.length / channels;
  const out = new Uint8ClampedArray(pixels.length); // which rounds halves to even, and clamps
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < places; i++) out[i * channels + c] = f(f(pixels[c * places + i] + 1) * 127.5);
  }
  return out;
}

/** Draw 8-bit (H, W, C) on a canvas of that size. */
export function show(canvas, bytes, height, width) {
  const channels = bytes.length / (height * width);
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = bytes[i * channels + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** A PNG of 8-bit (H, W, C), with a text of JSON in its chunk "brickwork", where Python looks for how it was drawn. */
export async function toPng(bytes, height, width, text) {
  const channels = bytes.length / (height * width);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, channels === 1 ? 0 : 2], 8); // 8 bits of grey or of red, green and blue
  const rows = new Uint8Array(height * (width * channels + 1)); // each begins with a 0: not filtered
  for (let y = 0; y < height; y++) {
    const row = bytes.subarray(y * width * channels, (y + 1) * width * channels);
    rows.set(row, y * (width * channels + 1) + 1);
  }
  const squeezed = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")));
  const ascii = text.replace(/[\u0080-\uffff]/g, escaped);
  return new Blob(
    [
      new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
      chunk("IHDR", header),
      chunk("tEXt", new TextEncoder().encode(`brickwork\0${ascii}`)),
      chunk("IDAT", new Uint8Array(await squeezed.arrayBuffer())),
      chunk("IEND", new Uint8Array(0)),
    ],
    { type: "image/png" },
  );
}

const escaped = (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;

function chunk(kind, data) {
  const out = new Uint8Array(data.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set(new TextEncoder().encode(kind), 4);
  out.set(data, 8);
  view.setUint32(data.length + 8, checksum(out.subarray(4, data.length + 8)));
  return out;
}

/** CRC-32 of a PNG's chunk (ISO/IEC 15948, Annex D). */
function checksum(data) {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
