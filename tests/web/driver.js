// Answers questions about the page's modules, which lie beside it: a line of JSON, [function, arguments], each way.

import { createInterface } from "node:readline";

const use = (name) => import(`./${name}`);
const { normal, parseSeed, philox } = await use("gaussian.js");
const { PROCESSES, processOf, sigmaMax, sigmaMin } = await use("process.js");
const { GRIDS, levels } = await use("grid.js");
const { SOLVERS } = await use("solvers.js");
const { choose } = await use("options.js");
const { countsOf, parsePlan, partsAt } = await use("plan.js");
const { guided } = await use("guidance.js");
const { batches } = await use("runner.js");
const { sample } = await use("sample.js");
const { tokenizerOf, unknownWords } = await use("tokenizer.js");
const { toBytes, toPng } = await use("picture.js");
const { Package, dataName, openPackage, partsName, sha256 } = await use("package.js");

/** A denoiser that any arithmetic can follow: D(x, s) = (x + c) / (s + 2), rounded after each operation. */
const toy = (c) => (x, s) => x.map((value) => Math.fround(value + Math.fround(c)) / Math.fround(Math.fround(s) + 2));

const answers = {
  names: () => ({ processes: Object.keys(PROCESSES), grids: Object.keys(GRIDS), solvers: Object.keys(SOLVERS) }),
  philox: (counter, key) => philox(counter, key),
  normal: (seed, draw, count, stream) => Array.from(normal(BigInt(seed), draw, count, stream)),
  seeds: (texts) => texts.map((text) => String(parseSeed(text))),
  process(entry, times) {
    const one = processOf(entry);
    const at = times.map((t) => one.at(t));
    const found = times.map((t) => one.level(t));
    return { at, levels: found, back: found.map((s) => one.t_of(s)), ends: [sigmaMin(one), sigmaMax(one)] };
  },
  levels: (grid, entry, steps) => levels(choose("grid", grid, GRIDS), processOf(entry), steps),
  plan: (text, sigmas) => ({ parts: sigmas.map((s) => partsAt(parsePlan(text), s)), counts: countsOf(parsePlan(text)) }),
  badPlan: (text) => failing(() => parsePlan(text)),
  badChoice: (text) => failing(() => choose("solver", text, SOLVERS)),
  async sample(entry, solver, grid, steps, seed, size, guidance, interval) {
    const run = async (x, s, rows) => rows.map((row) => toy(row.label)(x, s));
    const denoise = guided(run, { label: 0.25 }, { label: -0.5 }, guidance, interval);
    const how = { solver: choose("solver", solver, SOLVERS), grid: choose("grid", grid, GRIDS) };
    return Array.from(await sample({ denoise, process: processOf(entry), size, seed: BigInt(seed), steps, ...how }));
  },
  async stopped() {
    const entry = ["edm", {}];
    const how = { solver: choose("solver", "euler", SOLVERS), grid: choose("grid", "karras", GRIDS) };
    const onStep = (i) => i < 2;
    const x0 = await sample({ denoise: toy(0), process: processOf(entry), size: 4, seed: 0n, steps: 9, ...how, onStep });
    return x0;
  },
  batches: (count, sizes) => batches(count, sizes),
  unknown: (entry, captions) => captions.map((caption) => unknownWords(entry, caption)),
  dataName,
  partsName,
  tokens: (entry, captions) => captions.map((caption) => Array.from(tokenizerOf(entry)(caption), Number)),
  bytes: (pixels, channels) => Array.from(toBytes(Float32Array.from(pixels), channels)),
  async png(bytes, height, width, text) {
    const blob = await toPng(Uint8ClampedArray.from(bytes), height, width, text);
    return Buffer.from(await blob.arrayBuffer()).toString("base64");
  },
  sha256: (text) => sha256(new TextEncoder().encode(text)),
  async open(files) {
    globalThis.fetch = async (url) => {
      const text = files[new URL(url).pathname.slice(1)];
      return text === undefined ? new Response("", { status: 404 }) : new Response(text);
    };
    try {
      const pack = await openPackage("http://localhost/");
      return { counts: pack.counts, sizes: pack.sizes, text: new TextDecoder().decode(await pack.bytes("a.onnx")) };
    } catch (error) {
      return error.message;
    }
  },
};

function failing(act) {
  try {
    return act();
  } catch (error) {
    return error.message;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name, values] = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await answers[name](...values))}\n`);
}
