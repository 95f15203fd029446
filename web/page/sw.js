// Keeps the page for use without network. A cache holds one version of the site; versions are never mixed. The model is no
// business of this worker: the module keeps it in a cache of its own.
const { scope } = registration;
const version = new URL(location).searchParams.get("v");
const prefix = `muse-page ${scope} `;
const at = (path) => new URL(path === "index.html" ? "./" : path, scope).href;
const wasm = /muse-web[^/]*\/(cpu|webgpu)\//; // only what a device needs is kept, and only once it is needed

const onServer = async () => (await fetch(at("precache.json"), { cache: "no-store" })).json();
const others = async () => (await caches.keys()).filter((name) => name.startsWith(prefix) && name !== prefix + version);

/** All of the files, or none where the server has gone on to another version. */
async function keep(urls) {
  const cache = await caches.open(prefix + version);
  const files = await Promise.all(
    urls.map(async (url) => {
      if (await cache.match(url)) return [];
      const response = await fetch(url, { cache: "no-cache" });
      if (!response.ok) throw new Error(`${url}: ${response.status}`);
      return [url, await response.blob(), response.headers];
    }),
  );
  if ((await onServer()).version !== version) throw new Error("another version");
  // A new response, since a navigation refuses one that came by a redirection.
  for (const [url, body, headers] of files) if (url) await cache.put(url, new Response(body, { headers }));
}

async function install() {
  const { files } = await onServer();
  const had = new Set(); // the modules that this visitor's device needed of the version before
  for (const name of await others()) for (const { url } of await (await caches.open(name)).keys()) had.add(wasm.exec(url)?.[1]);
  const urls = files.map((file) => at(file.path ?? file)).filter((url) => !wasm.test(url) || had.has(wasm.exec(url)[1]));
  await keep([...new Set([...urls, at("models/models.json")])]);
}

async function answer(request) {
  const path = request.url.slice(scope.length).replace(/[?#].*/, "");
  // Not by opening the cache, which would make it anew where it was cleared.
  const kept = await caches.match(at(path), { cacheName: prefix + version, ignoreVary: true });
  if (kept) return kept;
  const response = await fetch(request);
  const now = await onServer().catch(() => ({ version }));
  return now.version === version ? response : Response.error();
}

/** Unless another tab may still need parts of the version before. */
async function takeOver() {
  const tabs = await clients.matchAll({ type: "window", includeUncontrolled: true });
  if (tabs.filter(({ url }) => url.startsWith(scope)).length < 2) await skipWaiting();
}

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) =>
  event.waitUntil(
    others().then(async (names) => {
      for (const name of names) await caches.delete(name);
      await clients.claim();
    }),
  ),
);
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(scope) && !/(\.muse|precache\.json|sw\.js)(\?|$)/.test(url))
    event.respondWith(answer(event.request));
});
addEventListener("message", (event) => {
  const { files } = event.data;
  const told = (kept) => () => event.ports[0].postMessage(kept);
  event.waitUntil(files ? keep(files.map(at)).then(told(true), told(false)) : takeOver());
});
