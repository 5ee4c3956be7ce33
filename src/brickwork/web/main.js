// The page: controls made from the manifest, a worker that draws, and what it says as it goes.

import { dataName, openPackage, PackageError, partsName } from "./package.js";
import { parseSeed } from "./gaussian.js";
import { parsePlan } from "./plan.js";
import { show, toBytes, toPng } from "./picture.js";
import { unknownWords } from "./tokenizer.js";

const $ = (id) => document.getElementById(id);
const SMALL = 200; // pixels; smaller pictures are shown with visible pixels
const MOST_CHIPS = 12;
const QUICK = 1500; // ms; a picture that takes less is drawn again when a control moves
const LIGHT = 64 * 2 ** 20; // bytes; a package below draws its first picture unasked
const STRIP = 8;
const REMEMBERED = 8;

let pack = null;
let worker = null;
let ready = false;
let drawing = null; // what is being drawn
let again = false; // draw once more when this one has ended
let latest = null; // what was drawn

/** For those who look from outside, as tests do: the latest picture before rounding, and how it was drawn. */
window.brickwork = {
  get latest() {
    return latest;
  },
};

start();

async function start() {
  if (document.documentElement.dataset.cannot) return;
  try {
    pack = await openPackage(new URL(".", location.href).href);
    if (pack.manifest.given_channels) {
      throw new PackageError("This model needs an image condition, which this page cannot give; use `brickwork run`.");
    }
    if (pack.counts.length === 0) throw new PackageError("This package has no whole graphs; pack it with --layout whole.");
  } catch (error) {
    fail(error instanceof PackageError ? error.message : `The package cannot be opened: ${error.message}`);
    return;
  }
  $("patience").hidden = true;
  fillControls();
  fillModel();
  listen();
  $("page").hidden = false;
  strip([]);
  openWorker();
  keepOffline();
  offerWebGpu();
}

// ---- controls ----------------------------------------------------------------------------------------------------

function fillControls() {
  const { manifest } = pack;
  const { classes, sampling, text, factor } = manifest;
  if (classes.length > 0) fillClasses(classes);
  if (text !== null) {
    $("prompt-field").hidden = false;
    if (text.left_out) {
      $("prompt").disabled = true;
      $("prompt-note").hidden = false;
      $("prompt-note").textContent = `Not here: ${text.left_out}. Pictures are drawn without a prompt.`;
    }
  }
  $("steps").max = Math.max(100, sampling.steps);
  $("steps").value = sampling.steps;
  $("guidance-field").hidden = classes.length === 0 && !text?.tokenizer;
  $("guidance").max = Math.max(6, Math.ceil(sampling.guidance));
  $("guidance").value = sampling.guidance;

  $("bricks-name").textContent = partsName(manifest).replace("b", "B");
  $("bricks").max = pack.counts.length - 1;
  $("bricks").value = pack.counts.length - 1;
  $("bricks").disabled = pack.counts.length === 1;
  for (let i = 0; i < manifest.num_parts && manifest.num_parts <= 64; i++) $("wall").append(document.createElement("span"));
  if (sampling.plan !== null) {
    $("plan-field").hidden = false;
    $("plan-text").textContent = sampling.plan;
    $("plan").checked = true;
  }
  for (const [height, width] of pack.sizes) {
    const [h, w] = [height * factor, width * factor];
    $("size").append(new Option(`${w} × ${h}`, `${height}x${width}`));
  }
  $("size").disabled = pack.sizes.length === 1;
  showValues();
}

function fillClasses(classes) {
  $("class-field").hidden = false;
  if (classes.length > MOST_CHIPS) {
    $("classes").hidden = true;
    $("class-list").hidden = false;
    classes.forEach((name, i) => $("class-list").append(new Option(name, i)));
    $("class-list").append(new Option("any", -1));
    return;
  }
  [...classes, "any"].forEach((name, i) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "class", value: i < classes.length ? i : -1, checked: i === 0 });
    label.append(input, name);
    $("classes").append(label);
  });
}

function showValues() {
  const parts = pack.counts[Number($("bricks").value)];
  const planned = $("plan").checked;
  const total = pack.manifest.num_parts;
  $("bricks").disabled = planned || pack.counts.length === 1;
  $("bricks-out").textContent = planned ? "as planned" : `${parts} of ${total}`;
  $("bricks").setAttribute("aria-valuetext", `${parts} of ${total} ${partsName(pack.manifest)}`);
  const most = planned ? Math.max(...parsePlan(pack.manifest.sampling.plan).map((row) => row.parts)) : parts;
  [...$("wall").children].forEach((brick, i) => brick.classList.toggle("on", i < most));
  $("steps-out").textContent = $("steps").value;
  showUnknownWords();
  const guidance = Number($("guidance").value);
  $("guidance-out").textContent = guidance === 1 ? "off" : guidance.toFixed(1);
}

/** Say which words of the prompt mean nothing to the model. */
function showUnknownWords() {
  const { text } = pack.manifest;
  if (!text?.tokenizer) return;
  const unknown = unknownWords(text.tokenizer, $("prompt").value);
  $("prompt-note").hidden = unknown.length === 0;
  $("prompt-note").textContent = `The model never learned ${unknown.map((word) => `“${word}”`).join(", ")}.`;
}

/** What the controls ask for; null, and said, where the seed is none. */
function asked() {
  const seed = parseSeed($("seed").value);
  $("seed").toggleAttribute("aria-invalid", false);
  if (seed === null) {
    $("seed").setAttribute("aria-invalid", "true");
    say("A seed is a whole number from 0 to 2^64 − 1.");
    return null;
  }
  const { classes, text, sampling } = pack.manifest;
  const chosen = document.querySelector("#classes :checked")?.value ?? $("class-list").value;
  return {
    seed,
    label: classes.length > 0 ? Number(chosen) : -1,
    prompt: text?.tokenizer ? $("prompt").value : "",
    steps: Number($("steps").value),
    guidance: $("guidance-field").hidden ? 1 : Number($("guidance").value),
    plan: $("plan").checked ? sampling.plan : String(pack.counts[Number($("bricks").value)]),
    size: $("size").value.split("x").map(Number),
  };
}

function listen() {
  $("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    // A field that is left for the button has begun a picture already: then the press is not meant to stop it.
    if (!drawing) draw();
    else if (drawing.unasked) drawing.unasked = false;
    else stop();
  });
  $("controls").addEventListener("input", showValues);
  $("controls").addEventListener("change", (event) => {
    if (event.target.id === "backend") openWorker();
    else if (latest !== null && latest.total < QUICK) draw(true);
  });
  $("another").addEventListener("click", () => {
    $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
    draw();
  });
  $("save").addEventListener("click", save);
}

// ---- the worker --------------------------------------------------------------------------------------------------

function openWorker() {
  worker?.terminate();
  [ready, drawing, again] = [false, null, false];
  showState();
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => heard[data.type](data);
  worker.onerror = () => fail("The part of this page that draws could not start; reload, or take a current browser.");
  const { base, manifest, digest } = pack;
  worker.postMessage({ type: "open", base, manifest, digest, provider: $("backend").value });
  say("Loading the runtime …");
}

const heard = {
  opened({ threads }) {
    ready = true;
    $("trouble").hidden = true;
    showState();
    const wasm = $("backend").value === "wasm";
    say(wasm ? `Ready: WebAssembly, ${threads === 1 ? "1 thread" : `${threads} threads`}.` : "Ready: WebGPU.");
    const bytes = Object.values(pack.manifest.graphs.flatMap((g) => [g.file, ...g.weights]).reduce(sizeByName, {}));
    if (latest === null && bytes.reduce((a, b) => a + b, 0) < LIGHT) draw();
  },
  loading({ loaded, total }) {
    const [a, b] = [loaded, total].map((bytes) => (bytes / 1e6).toFixed(1));
    say(`Loading ${a} of ${b} MB …`);
    $("progress").value = loaded / total;
  },
  opening() {
    say("Opening the model …");
  },
  drawing() {
    $("progress").value = 0;
    say(`Drawing ${whatOf(drawing)} …`);
  },
  step({ step, level, took, pixels }) {
    drawing.times.push(took);
    $("progress").value = step / drawing.steps;
    $("fact-step").textContent = `${step} / ${drawing.steps}`;
    $("fact-ms").textContent = milliseconds(median(drawing.times));
    $("fact-level").textContent = level === 0 ? "0" : level.toPrecision(2);
    if (pixels === undefined) return;
    paint($("picture"), pixels, drawing.size);
    if (drawing.frames.has(step)) {
      paint(drawing.frames.get(step), pixels, drawing.size);
    }
  },
  drawn({ pixels, times, total }) {
    const { manifest } = pack;
    const ms = median(times);
    latest = { ...drawing, pixels, ms, total, bytes: toBytes(pixels, manifest.picture_channels) };
    paint($("picture"), pixels, drawing.size);
    paint(drawing.frames.get(drawing.steps), pixels, drawing.size);
    $("picture").setAttribute("aria-label", `Picture of ${whatOf(drawing)}, seed ${drawing.seed}`);
    $("fact-total").textContent = milliseconds(total);
    remember(latest);
    end(`Drawn: ${whatOf(drawing)}, seed ${drawing.seed}, ${milliseconds(ms)} per step, ${milliseconds(total)} in all.`);
  },
  stopped() {
    end("Stopped.");
  },
  failed({ message }) {
    const started = ready;
    end("");
    fail(message, started);
  },
};

const sizeByName = (sizes, name) => ({ ...sizes, [name]: pack.manifest.files[name].length });

function draw(unasked = false) {
  if (!ready) return;
  if (drawing) {
    again = true;
    stop();
    return;
  }
  const wanted = asked();
  if (wanted === null) return;
  const frames = strip(stepsShown(wanted.steps));
  drawing = { ...wanted, times: [], frames, backend: $("backend").value, unasked };
  for (const name of ["step", "ms", "total", "level"]) $(`fact-${name}`).textContent = "–";
  $("progress").value = 0;
  $("trouble").hidden = true;
  showState();
  worker.postMessage({ type: "draw", ...wanted });
}

function stop() {
  worker.postMessage({ type: "stop" });
}

function end(message) {
  drawing = null;
  say(message);
  showState();
  if (again) {
    again = false;
    draw();
  }
}

function showState() {
  $("draw").textContent = drawing ? "Stop" : "Draw";
  $("draw").disabled = !ready;
  $("save").disabled = latest === null || drawing !== null;
  $("picture").setAttribute("aria-busy", String(drawing !== null));
}

// ---- what is seen ------------------------------------------------------------------------------------------------

function paint(canvas, pixels, [height, width]) {
  const { factor, picture_channels } = pack.manifest;
  const [h, w] = [height * factor, width * factor];
  canvas.classList.toggle("small", Math.max(h, w) < SMALL);
  canvas.style.aspectRatio = `${w} / ${h}`;
  show(canvas, toBytes(pixels, picture_channels), h, w);
}

/** Steps that the strip shows, evenly spread, the first and the last among them. */
function stepsShown(steps) {
  if (steps <= STRIP) return Array.from({ length: steps }, (_, i) => i + 1);
  return Array.from({ length: STRIP }, (_, i) => Math.round(1 + ((steps - 1) * i) / (STRIP - 1)));
}

/** An empty strip for these steps; their canvases by step. */
function strip(steps) {
  const frames = new Map();
  const rows = Array.from({ length: STRIP }, (_, i) => {
    const row = document.createElement("li");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    canvas.width = canvas.height = 8;
    const word = document.createElement("span");
    word.textContent = "step ";
    row.append(canvas, ...(steps[i] === undefined ? ["·"] : [word, String(steps[i])]));
    if (steps[i] !== undefined) frames.set(steps[i], canvas);
    return row;
  });
  $("strip").replaceChildren(...rows);
  return frames;
}

/** Put a finished picture before those drawn so far; a press on it brings it back. */
function remember(record) {
  const { pixels, size, seed } = record;
  const [row, button, canvas] = ["li", "button", "canvas"].map((name) => document.createElement(name));
  button.type = "button";
  button.title = `${whatOf(record)}, seed ${seed}`;
  button.setAttribute("aria-label", `Draw again: ${whatOf(record)}, seed ${seed}`);
  button.addEventListener("click", () => {
    restore(record);
    draw();
  });
  paint(canvas, pixels, size);
  button.append(canvas);
  row.append(button);
  // The same wish again only moves to the front.
  row.dataset.wish = JSON.stringify([String(seed), ...wishes.map((key) => record[key])]);
  const list = $("drawn");
  [...list.children].find((old) => old.dataset.wish === row.dataset.wish)?.remove();
  list.prepend(row);
  while (list.children.length > REMEMBERED) list.lastChild.remove();
  $("drawn-field").hidden = list.children.length < 2;
}

const wishes = ["label", "prompt", "steps", "guidance", "plan", "size"];

/** Set the controls to what a picture was asked by. */
function restore({ seed, label, prompt, steps, guidance, plan, size }) {
  $("seed").value = String(seed);
  const chip = document.querySelector(`#classes [value="${label}"]`);
  if (chip) chip.checked = true;
  $("class-list").value = String(label);
  $("prompt").value = prompt;
  $("steps").value = steps;
  $("guidance").value = guidance;
  $("plan").checked = plan === pack.manifest.sampling.plan;
  const place = pack.counts.indexOf(Number(plan));
  if (place >= 0) $("bricks").value = place;
  $("size").value = size.join("x");
  showValues();
}

function whatOf({ label, prompt }) {
  if (prompt) return `“${prompt}”`;
  return label >= 0 ? pack.manifest.classes[label] : "a picture";
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function milliseconds(ms) {
  return ms < 9.95 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function say(message) {
  $("status").textContent = message;
}

/** Says what went wrong; the controls stay where drawing can be tried again. */
function fail(message, again = false) {
  $("patience").hidden = true;
  $("trouble").textContent = message;
  $("trouble").hidden = false;
  if (!again) say("Cannot draw.");
}

function fillModel() {
  const { manifest, digest } = pack;
  const [kind] = manifest.model.backbone ?? ["unknown"];
  const count = manifest.model.parameters;
  const { data } = manifest.origin;
  const learned = data && dataName(data);
  if (learned) {
    document.title = `${learned} · brickwork`;
    $("about").textContent = `A model of ${learned} that draws on this device. Nothing is sent anywhere.`;
  }
  const size = Object.values(manifest.files).reduce((sum, file) => sum + file.length, 0);
  const rows = {
    design: `${kind}, ${manifest.num_parts} ${partsName(manifest)}${count ? `, ${(count / 1e6).toPrecision(3)} M parameters` : ""}`,
    "trained on": learned || "not said",
    draws: `${manifest.sampling.steps} steps of ${manifest.sampling.solver} on ${manifest.sampling.grid}`,
    precision: manifest.precision,
    parity: manifest.parity.db ? `${manifest.parity.db.toFixed(0)} dB to the model in PyTorch` : "not said",
    package: `${(size / 1e6).toFixed(1)} MB, manifest ${digest}`,
    runtime: Object.entries(manifest.runtime).map((pair) => pair.join(" ")).join(", "),
    licence: manifest.licence || "not said",
  };
  for (const [name, value] of Object.entries(rows)) {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = name;
    dd.textContent = value;
    $("model").append(dt, dd);
  }
}

async function save() {
  const { manifest, digest } = pack;
  const { factor, sampling } = manifest;
  const { seed, label, prompt, steps, guidance, plan, size, bytes, backend } = latest;
  const facts = {
    manifest_sha256: digest,
    model_sha256: manifest.model.sha256 ?? "",
    version: manifest.brickwork,
    target: manifest.target,
    precision: manifest.precision,
    backend,
    solver: sampling.solver,
    grid: sampling.grid,
    plan,
    steps,
    guidance,
    guidance_interval: sampling.guidance_interval.map((level) => String(level ?? "inf")),
    labels: label >= 0 ? [label] : [],
    seeds: ["SEED"],
    ...(prompt ? { prompt: [prompt] } : {}),
  };
  const exact = (text) => text.replace('"SEED"', String(seed)); // a seed may be larger than JavaScript's numbers
  const blob = await toPng(bytes, size[0] * factor, size[1] * factor, exact(JSON.stringify(facts)));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const word = (prompt || manifest.classes[label] || "picture").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40);
  link.download = `${word}-seed${seed}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// ---- what this browser has -----------------------------------------------------------------------------------------

async function offerWebGpu() {
  const option = document.querySelector("#backend [value=webgpu]");
  const shipped = Object.keys(pack.manifest.files).some((name) => name.includes("webgpu"));
  const adapter = shipped ? await navigator.gpu?.requestAdapter().catch(() => null) : null;
  if (!adapter) return;
  option.disabled = false;
  option.textContent = "WebGPU";
}

async function keepOffline() {
  if (!("serviceWorker" in navigator)) {
    $("offline").textContent = "This browser keeps no pages: without a network this one will not open.";
    return;
  }
  try {
    await navigator.serviceWorker.register(new URL("sw.js", import.meta.url));
    await navigator.serviceWorker.ready;
    $("offline").textContent = "Kept on this device: works without a network.";
  } catch {
    $("offline").textContent = "Not kept on this device: without a network this page will not open.";
  }
}
