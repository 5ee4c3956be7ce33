// Random numbers as a pure function of (seed, stream, draw, position): Philox4x32-10 and Box-Muller.
// The recipe is docs/gaussian.md; what it says there to the bit is here to the bit.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox); Box and Muller, 1958.

export const SAMPLING = 0;

// Upper 32 bits of a product of two words; the partial products stay below 2^53.
function high(a, b) {
  const low = (a & 0xffff) * b;
  const up = (a >>> 16) * b;
  return Math.floor((up + Math.floor(low / 65536)) / 65536);
}

/** Philox4x32 with ten rounds: counter [c0, c1, c2, c3] and key [k0, k1] to four words. */
export function philox([c0, c1, c2, c3], [k0, k1]) {
  for (let round = 0; round < 10; round++) {
    const [a, b] = [c0, c2];
    c0 = (high(0xcd9e8d57, b) ^ c1 ^ k0) >>> 0;
    c2 = (high(0xd2511f53, a) ^ c3 ^ k1) >>> 0;
    c1 = Math.imul(0xcd9e8d57, b) >>> 0;
    c3 = Math.imul(0xd2511f53, a) >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

// A word at the middle of one of 2^32 equal cells of (0, 1); exact in float64.
const unit = (word) => (word + 0.5) * 2 ** -32;

/**
 * Standard normal numbers of one seed.
 * @param {bigint} seed 0 to 2^64 - 1
 * @param {number} draw how many draws this seed has made before
 * @param {number} count
 * @param {number} stream what the numbers are for
 * @returns {Float32Array}
 */
export function normal(seed, draw, count, stream = SAMPLING) {
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  const out = new Float32Array(4 * Math.ceil(count / 4)); // what is stored is rounded to float32
  for (let block = 0; 4 * block < count; block++) {
    const counter = [block >>> 0, Math.floor(block / 2 ** 32), draw, stream];
    const words = philox(counter, key);
    for (const i of [0, 2]) {
      const radius = Math.sqrt(-2 * Math.log(unit(words[i])));
      const angle = 2 * Math.PI * unit(words[i + 1]);
      out[4 * block + i] = radius * Math.cos(angle);
      out[4 * block + i + 1] = radius * Math.sin(angle);
    }
  }
  return out.subarray(0, count);
}

/** A seed from what was typed, or null where that is none. */
export function parseSeed(text) {
  const word = text.trim();
  if (!/^\d{1,20}$/.test(word)) return null;
  const seed = BigInt(word);
  return seed < 2n ** 64n ? seed : null;
}
