// The package: manifest.json says which files there are and what their bytes hash to. Nothing is used unchecked.

const FORMAT = 1;
const AGAIN = "copy the package again, or pack it again";

/** Something wrong with the package or this browser, in one line for the reader. */
export class PackageError extends Error {}

/** SHA-256 of bytes, as hex. */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The package in a folder (a URL), its manifest checked against SHA256SUMS. */
export async function openPackage(base) {
  const [data, sums] = await Promise.all([load(base, "manifest.json"), load(base, "SHA256SUMS")]);
  const digest = await sha256(data);
  const listed = new Map(
    new TextDecoder()
      .decode(sums)
      .split("\n")
      .filter(Boolean)
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
  if (listed.get("manifest.json") !== digest) {
    throw new PackageError(`manifest.json: its bytes are not those that were packed; ${AGAIN}`);
  }
  const manifest = JSON.parse(new TextDecoder().decode(data));
  if (manifest.format !== FORMAT) {
    throw new PackageError(`the package is of format ${manifest.format}, this page reads ${FORMAT}; pack it again`);
  }
  const known = Object.entries(manifest.files);
  if (known.some(([name, file]) => listed.get(name) !== file.sha256) || listed.size !== known.length + 1) {
    throw new PackageError(`manifest.json and SHA256SUMS do not agree; ${AGAIN}`);
  }
  return new Package(base, manifest, digest);
}

/** Files of a package, each fetched and checked once. */
export class Package {
  /**
   * @param {string} base URL of the folder
   * @param {object} manifest
   * @param {string} digest SHA-256 of manifest.json
   */
  constructor(base, manifest, digest) {
    Object.assign(this, { base, manifest, digest, kept: new Map() });
  }

  /**
   * The bytes of a file, checked; kept for the next time.
   * @param {string} name
   * @param {(loaded: number, total: number) => void} onBytes
   */
  bytes(name, onBytes = () => {}) {
    if (!this.kept.has(name)) {
      const file = this.manifest.files[name];
      if (file === undefined) throw new PackageError(`the package has no file ${name}; ${AGAIN}`);
      const found = load(this.base, name, (loaded) => onBytes(loaded, file.length)).then(async (data) => {
        if (data.length !== file.length || (await sha256(data)) !== file.sha256) {
          throw new PackageError(`${name} is damaged: its bytes are not those that were packed; ${AGAIN}`);
        }
        return data;
      });
      this.kept.set(name, found);
      found.catch(() => this.kept.delete(name));
    }
    return this.kept.get(name);
  }

  /** Check files without keeping them. */
  async check(names) {
    await Promise.all(names.map((name) => this.bytes(name).finally(() => this.kept.delete(name))));
  }

  /** Graphs of a role with the given values. */
  graphs(role, wanted = {}) {
    const fits = (graph) => Object.entries(wanted).every(([key, value]) => graph[key] === value);
    return this.manifest.graphs.filter((graph) => graph.role === role && fits(graph));
  }

  /** Numbers of parts that the package can run, rising. */
  get counts() {
    const found = new Set(this.graphs("denoiser").map((graph) => graph.parts));
    return [...found].sort((a, b) => a - b);
  }

  /** [height, width] of x in model space that the package can run, the model's own first. */
  get sizes() {
    const [, ...own] = this.manifest.shape;
    const found = new Set(this.graphs("denoiser").map((graph) => `${graph.height}x${graph.width}`));
    const sizes = [...found].map((size) => size.split("x").map(Number));
    return sizes.sort((a, b) => (b.join() === own.join()) - (a.join() === own.join()) || a[0] - b[0] || a[1] - b[1]);
  }
}

async function load(base, name, onBytes = () => {}) {
  let response;
  try {
    response = await fetch(new URL(name, base), { cache: "no-cache" });
  } catch {
    throw new PackageError(`${name} could not be loaded: the server cannot be reached; start it again, then reload`);
  }
  if (!response.ok) throw new PackageError(`${name} is missing (${response.status}); ${AGAIN}`);
  if (!response.body) return new Uint8Array(await response.arrayBuffer());
  const parts = [];
  let loaded = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      onBytes((loaded += value.length));
    }
  } catch {
    throw new PackageError(`${name} broke off after ${loaded} bytes; reload the page`);
  }
  const data = new Uint8Array(loaded);
  let place = 0;
  for (const part of parts) {
    data.set(part, place);
    place += part.length;
  }
  return data;
}

/** What a model's parts are called: only LEGO's are bricks. */
export const partsName = ({ model }) => (model.backbone?.[0] === "lego" ? "bricks" : "blocks");

/** A name for people of data at a path or on the Hub: the last part of its address, without a suffix. */
export function dataName(address) {
  const parts = String(address).split(/[\\/]/).filter((part) => part);
  return (parts.at(-1) ?? "").replace(/^hf:|\.(zip|npz|gz)$/gi, "");
}
