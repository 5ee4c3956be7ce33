// Graphs of a package as functions. They have fixed shapes: rows are cut into the batches that there are graphs for,
// and a graph is opened when it is first needed, after its files were checked.

import { PackageError } from "./package.js";

const MOST_BYTES = 512 * 2 ** 20; // of weights in open graphs; beyond, those used longest ago are closed

/** Rows cut into batches: the largest that they fill, then the smallest for the rest. [start, count, batch] each. */
export function batches(count, sizes) {
  const found = [];
  for (let start = 0; start < count; ) {
    const left = count - start;
    const size = Math.max(...sizes.filter((n) => n <= left), -Infinity);
    const batch = size > 0 ? size : Math.min(...sizes);
    found.push([start, Math.min(batch, left), batch]);
    start += batch;
  }
  return found;
}

export class Runner {
  /**
   * @param {import("./package.js").Package} pack
   * @param ort onnxruntime-web
   * @param {string} provider "wasm" or "webgpu"
   */
  constructor(pack, ort, provider) {
    Object.assign(this, { pack, ort, provider, open: new Map() });
  }

  /** A graph, ready to run. */
  async session(graph, onBytes) {
    const kept = this.open.get(graph.file);
    this.open.delete(graph.file); // and put in again, as the latest
    if (kept) {
      this.open.set(graph.file, kept);
      return kept;
    }
    const [data, ...weights] = await Promise.all([graph.file, ...graph.weights].map((n) => this.pack.bytes(n, onBytes)));
    const externalData = graph.weights.map((path, i) => ({ path, data: weights[i] }));
    const options = { executionProviders: [this.provider], externalData, logSeverityLevel: 3 };
    let session;
    try {
      session = await this.ort.InferenceSession.create(data, options);
    } catch (error) {
      const said = String(error?.message ?? error).split("\n")[0].slice(0, 200);
      throw new PackageError(`${graph.file} cannot be opened here (${said}); take another backend or a smaller size`);
    }
    this.open.set(graph.file, session);
    await this.trim(graph);
    return session;
  }

  // Close the graphs used longest ago while all together hold too much.
  async trim(latest) {
    const sizeOf = (file) => {
      const graph = this.pack.manifest.graphs.find((known) => known.file === file);
      return [graph.file, ...graph.weights].reduce((sum, name) => sum + this.pack.manifest.files[name].length, 0);
    };
    let total = [...this.open.keys()].reduce((sum, file) => sum + sizeOf(file), 0);
    for (const [file, session] of [...this.open]) {
      if (total <= MOST_BYTES || file === latest.file) break;
      this.open.delete(file);
      total -= sizeOf(file);
      await session.release();
    }
  }

  /** Run a graph on inputs by name, arrays of the ports' own lengths; resolves to its first output. */
  async run(graph, inputs) {
    const session = await this.session(graph);
    const feeds = {};
    for (const { name, dtype, shape } of graph.inputs) feeds[name] = new this.ort.Tensor(dtype, inputs[name], shape);
    const outputs = await session.run(feeds);
    return outputs[graph.outputs[0].name].data;
  }

  /** Open what a run of so many parts at a size will use, rows at a time. */
  async prepare(parts, [height, width], rows, onBytes) {
    for (const graph of this.of(parts, [height, width], rows)) await this.session(graph, onBytes);
  }

  of(parts, [height, width], rows) {
    const known = this.pack.graphs("denoiser", { parts, height, width });
    if (known.length === 0) throw new PackageError(`the package has no graph of ${parts} parts at ${height}x${width}`);
    const cuts = batches(rows, known.map((graph) => graph.batch));
    return cuts.map(([, , batch]) => known.find((graph) => graph.batch === batch));
  }

  /**
   * Estimates of x0 for several conditions at the same x and level.
   * @param {number} parts
   * @param {number[]} size [height, width] in model space
   * @param {Float32Array} x one picture
   * @param {number} s
   * @param {object[]} conditions each with label (number) and text (Float32Array), as the model takes them
   * @returns {Promise<Float32Array[]>}
   */
  async denoise(parts, size, x, s, conditions) {
    const graphs = this.of(parts, size, conditions.length);
    const found = [];
    for (const graph of graphs) {
      const rows = conditions.slice(found.length, found.length + graph.batch);
      while (rows.length < graph.batch) rows.push(rows.at(-1));
      const wanted = Math.min(graph.batch, conditions.length - found.length);
      const out = await this.run(graph, inputsOf(graph, x, s, rows));
      for (let i = 0; i < wanted; i++) found.push(out.slice(i * x.length, (i + 1) * x.length));
    }
    return found;
  }

  /** Pictures in [-1, 1], (C, H, W) flat, of x0 in model space. */
  async pixels(x0, [height, width]) {
    const [graph] = this.pack.graphs("decoder", { height, width });
    return graph === undefined ? x0 : (await this.run(graph, { x0 })).slice();
  }

  /** Embedded text of tokens. */
  async embed(tokens) {
    const [graph] = this.pack.graphs("text");
    return (await this.run(graph, { tokens })).slice();
  }
}

function inputsOf(graph, x, s, rows) {
  const inputs = {};
  for (const { name, shape } of graph.inputs) {
    const size = shape.reduce((product, n) => product * n, 1);
    if (name === "labels") {
      inputs.labels = BigInt64Array.from(rows, (row) => BigInt(row?.label ?? -1));
      continue;
    }
    const values = (inputs[name] = new Float32Array(size));
    if (name === "sigma") values.fill(s);
    if (name === "x") rows.forEach((_, i) => values.set(x, i * x.length));
    if (name === "text") rows.forEach((row, i) => row?.text && values.set(row.text, (i * size) / rows.length));
  }
  return inputs;
}
