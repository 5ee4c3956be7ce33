// Captions to token numbers, as src/brickwork/files/tokenizers.py makes them; 0 is no token and stands behind all others.

const UNKNOWN = 1; // a word that is not in the vocabulary

/** The lower-cased runs of letters and digits in a text, of any script. */
export const wordsOf = (caption) => caption.normalize("NFKC").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

function words({ words: vocabulary, has_unknown }) {
  const numbers = new Map(vocabulary.map((word, i) => [word, i + UNKNOWN + 1]));
  return (caption) => {
    const found = wordsOf(caption).map((word) => numbers.get(word) ?? UNKNOWN);
    return has_unknown ? found : found.filter((number) => number !== UNKNOWN);
  };
}

function bytes() {
  const encoder = new TextEncoder();
  // Half of a surrogate pair is no text; Python writes a question mark in its place.
  return (caption) => Array.from(encoder.encode(caption.toLowerCase().replace(/\p{Surrogate}/gu, "?")), (b) => b + 1);
}

export const TOKENIZERS = { words, bytes };

/** The words of a caption that have no token of their own in the tokenizer of a manifest's entry, each once. */
export function unknownWords([name, options], caption) {
  if (name !== "words") return [];
  const known = new Set(options.words);
  return [...new Set(wordsOf(caption))].filter((word) => !known.has(word));
}

/** A function of a caption to its tokens, BigInt64Array (length), for the entry [name, options] of a manifest. */
export function tokenizerOf([name, options]) {
  if (!Object.hasOwn(TOKENIZERS, name)) throw new Error(`this page knows no tokenizer "${name}"; pack it again`);
  const symbols = TOKENIZERS[name](options);
  return (caption) => {
    const tokens = new BigInt64Array(options.length);
    symbols(caption).slice(0, options.length).forEach((symbol, i) => (tokens[i] = BigInt(symbol)));
    return tokens;
  };
}
