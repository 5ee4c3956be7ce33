// Draws off the main thread, so that the page stays responsive. Messages in: open, draw, stop; out: opened, loading,
// opening, drawing, step, drawn, stopped, failed.

import { guided } from "./guidance.js";
import { choose } from "./options.js";
import { GRIDS } from "./grid.js";
import { Package, PackageError } from "./package.js";
import { countsOf, parsePlan, partsAt } from "./plan.js";
import { processOf } from "./process.js";
import { Runner } from "./runner.js";
import { sample } from "./sample.js";
import { SOLVERS } from "./solvers.js";
import { tokenizerOf } from "./tokenizer.js";

const RUNTIMES = {
  wasm: ["ort.wasm.min.mjs", "ort-wasm-simd-threaded"],
  webgpu: ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"],
};
const PREVIEW_SHARE = 0.25; // of the time may go into decoding what is only looked at on the way

let runner = null;
let stopped = false;

// A turn of the event loop, in which a message can come in; setTimeout would wait 4 ms.
const { port1, port2 } = new MessageChannel();
const waiting = [];
port1.onmessage = () => waiting.shift()();
const breathe = () => new Promise((go) => {
  waiting.push(go);
  port2.postMessage(null);
});

/** Bytes of several files as one number, told at most every 50 ms. */
function loading(pack, names) {
  const total = [...new Set(names)].reduce((sum, name) => sum + pack.manifest.files[name].length, 0);
  let last = 0;
  const loaded = new Map();
  return (name) => (bytes) => {
    loaded.set(name, bytes);
    const now = performance.now();
    if (now - last < 50) return;
    last = now;
    postMessage({ type: "loading", loaded: [...loaded.values()].reduce((a, b) => a + b, 0), total });
  };
}

async function open({ base, manifest, digest, provider }) {
  const pack = new Package(base, manifest, digest);
  const [module, core] = RUNTIMES[provider];
  const page = Object.keys(manifest.files).filter((name) => /\.(html|css|js|svg)$/.test(name));
  const told = loading(pack, [`${core}.wasm`]);
  const [binary] = await Promise.all([
    pack.bytes(`${core}.wasm`, told(`${core}.wasm`)),
    pack.check([...page, module, `${core}.mjs`]),
  ]);
  const ort = await import(new URL(module, base).href);
  const wasm = ort.env.wasm;
  wasm.wasmBinary = binary;
  wasm.wasmPaths = { mjs: new URL(`${core}.mjs`, base).href };
  wasm.numThreads = self.crossOriginIsolated ? Math.min(4, Math.ceil((navigator.hardwareConcurrency || 1) / 2)) : 1;
  ort.env.logLevel = "error";
  runner = new Runner(pack, ort, provider);
  postMessage({ type: "opened", threads: wasm.numThreads });
}

async function conditionOf(pack, { label, prompt }) {
  const { classes, text } = pack.manifest;
  if (classes.length === 0 && text === null) return null;
  const condition = { label };
  if (prompt && text?.tokenizer) condition.text = await runner.embed(tokenizerOf(text.tokenizer)(prompt));
  return condition;
}

/** Draw one picture. asked: seed (BigInt), label, prompt, steps, guidance, plan (a text), size [height, width]. */
async function draw(asked) {
  const { pack } = runner;
  const { manifest } = pack;
  const { sampling } = manifest;
  const plan = parsePlan(asked.plan);
  const process = processOf(manifest.process);
  const condition = await conditionOf(pack, asked);
  const rows = asked.guidance === 1 || condition === null ? 1 : 2;
  const graphs = countsOf(plan).flatMap((parts) => runner.of(parts, asked.size, rows));
  const names = graphs.flatMap((graph) => [graph.file, ...graph.weights]);
  const told = loading(pack, names);
  for (const name of names) await pack.bytes(name, told(name));
  postMessage({ type: "opening" });
  for (const parts of countsOf(plan)) await runner.prepare(parts, asked.size, rows);
  postMessage({ type: "drawing" });

  const run = (x, s, conditions) => runner.denoise(partsAt(plan, s), asked.size, x, s, conditions);
  const start = performance.now();
  const times = [];
  let decoding = 0;
  let shown = start;
  const size = manifest.shape[0] * asked.size[0] * asked.size[1];

  const onStep = async (i, x0, level, took) => {
    times.push(took);
    const message = { type: "step", step: i + 1, level, took };
    if (decoding <= PREVIEW_SHARE * (performance.now() - shown)) {
      const before = performance.now();
      message.pixels = await runner.pixels(x0, asked.size);
      shown = performance.now();
      decoding = shown - before;
    }
    postMessage(message);
    await breathe();
    return !stopped;
  };

  const x0 = await sample({
    denoise: guided(run, condition, { label: -1 }, asked.guidance, sampling.guidance_interval),
    process,
    size,
    seed: asked.seed,
    steps: asked.steps,
    solver: choose("solver", sampling.solver, SOLVERS),
    grid: choose("grid", sampling.grid, GRIDS),
    onStep,
  });
  if (x0 === null) {
    postMessage({ type: "stopped" });
    return;
  }
  const pixels = await runner.pixels(x0, asked.size);
  postMessage({ type: "drawn", pixels, times, total: performance.now() - start });
}

onmessage = async ({ data }) => {
  if (data.type === "stop") {
    stopped = true;
    return;
  }
  try {
    if (data.type === "open") await open(data);
    if (data.type === "draw") {
      stopped = false;
      await draw(data);
    }
  } catch (error) {
    const said = String(error?.message ?? error).split("\n")[0].slice(0, 300);
    postMessage({ type: "failed", message: error instanceof PackageError ? said : `It cannot be drawn here: ${said}` });
  }
};
