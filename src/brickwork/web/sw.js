// Keeps the package for when there is no network. Files are kept by their hash: what is served is what the manifest
// names, and a new manifest brings new files without mixing them with old ones.

const KEPT = `brickwork ${self.registration.scope}`;
const MANIFEST = "manifest.json";
const SUMS = "SHA256SUMS";
const LATER = /webgpu|asyncify/; // large, and used by few: kept once it was used

const urlOf = (name) => new URL(name, self.registration.scope).href;
const keyOf = (file) => urlOf(`sha256/${file.sha256}`);

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(keepAll());
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = new URL(request.url);
  path.hash = path.search = "";
  if (request.method !== "GET" || !path.href.startsWith(self.registration.scope)) return;
  const name = path.href.slice(self.registration.scope.length) || "index.html";
  event.respondWith(answer(name, request));
});

async function answer(name, request) {
  if (name === MANIFEST || name === SUMS) return newest(name);
  const manifest = request.mode === "navigate" ? await update() : await stored();
  const file = manifest?.files[name];
  if (file === undefined) return fetch(request);
  const cache = await caches.open(KEPT);
  return (await cache.match(keyOf(file))) ?? keep(cache, name, file);
}

/** A file from the network, kept where it is the one that the manifest names. */
async function keep(cache, name, file) {
  const response = await fetch(urlOf(name), { cache: "no-cache" });
  if (!response.ok) return response;
  const data = await response.arrayBuffer();
  // With these, the page may use threads even where the server does not send them.
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  headers.delete("Content-Encoding"); // it was undone
  const made = () => new Response(data, { headers });
  if (data.byteLength === file.length && (await sha256(data)) === file.sha256) await cache.put(keyOf(file), made());
  return made();
}

/** The newest manifest or sums: from the network, else the kept one. */
async function newest(name) {
  try {
    return await fetch(urlOf(name), { cache: "no-cache" });
  } catch (error) {
    const kept = await (await caches.open(KEPT)).match(urlOf(name));
    if (kept) return kept;
    throw error;
  }
}

/** The manifest to go by from now on: the newest, kept where the sums beside it are of it. */
async function update() {
  try {
    const [manifest, sums] = await Promise.all([newest(MANIFEST), newest(SUMS)]);
    const digest = await sha256(await manifest.clone().arrayBuffer());
    if ((await sums.clone().text()).includes(`${digest}  ${MANIFEST}`)) {
      const cache = await caches.open(KEPT);
      await Promise.all([cache.put(urlOf(MANIFEST), manifest), cache.put(urlOf(SUMS), sums)]);
    }
  } catch {
    // No network, or nothing of ours behind it: what is kept stays.
  }
  return stored();
}

async function stored() {
  const kept = await (await caches.open(KEPT)).match(urlOf(MANIFEST));
  return kept?.json();
}

async function keepAll() {
  const manifest = await update();
  if (manifest === undefined) throw new Error("there is no whole package to keep");
  const cache = await caches.open(KEPT);
  const wanted = new Set([urlOf(MANIFEST), urlOf(SUMS)]);
  for (const [name, file] of Object.entries(manifest.files)) {
    wanted.add(keyOf(file));
    if (!LATER.test(name) && !(await cache.match(keyOf(file)))) await keep(cache, name, file);
  }
  for (const request of await cache.keys()) {
    if (!wanted.has(request.url)) await cache.delete(request);
  }
}

async function sha256(data) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
