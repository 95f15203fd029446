// Where a model file comes from: the Cache API or the network.
import { MuseError } from "./error.js";

/**
 * @import { Trial } from "./muse.js"
 *
 * Tells how far it is.
 * @typedef {(phase: import("./muse.js").Progress["phase"], loaded: number, total: number) => void} Report
 */

const NAME = "muse-web";
const HASH = "x-muse-sha256";
const VERSION = "of the modules"; // what is built has their hash here

/**
 * No Cache API, in an insecure context, a private window or a sandboxed frame, or a full disk: it goes on without.
 *
 * @template T
 * @param {() => Promise<T>} work
 */
async function attempt(work) {
  try {
    return await work();
  } catch {}
}

/** The copy in the cache, unless it is known to be of another hash. @param {string} url @param {string} [sha256] */
export async function kept(url, sha256) {
  const copy = await attempt(() => caches.match(url, { cacheName: NAME }));
  const hash = copy?.headers.get(HASH);
  return sha256 && hash && hash !== sha256 ? undefined : copy;
}

/** @param {string} url @param {Blob} blob @param {string} [sha256] */
export async function keep(url, blob, sha256) {
  const headers = /** @type {Record<string, any>} */ ({ "content-length": blob.size });
  if (sha256) headers[HASH] = sha256;
  await attempt(async () => {
    const cache = await caches.open(NAME);
    await cache.put(url, new Response(blob, { headers }));
    await cache.delete(beside(url)); // it was of another file
  });
}

/** Where that is kept which was found out about the model there. @param {string} url */
function beside(url) {
  const place = new URL(url);
  place.searchParams.set(NAME, "device");
  return place.href;
}

/** What was found out here, if it still holds. @param {string | undefined} url @param {string | undefined} sha256 @param {string} adapter */
export async function recall(url, sha256, adapter) {
  const kept = url && (await attempt(async () => (await caches.match(beside(url), { cacheName: NAME }))?.json()));
  return kept && kept.version === VERSION && kept.sha256 === sha256 && kept.trial?.adapter === adapter ? /** @type {Trial} */ (kept.trial) : undefined;
}

/**
 * Keeps it beside the model, if that is kept; without a trial it forgets what is known.
 *
 * @param {string} url
 * @param {string | undefined} sha256
 * @param {Trial} [trial]
 */
export const remember = (url, sha256, trial) =>
  attempt(async () => {
    const cache = await caches.open(NAME);
    if (!trial) await cache.delete(beside(url));
    else if (await cache.match(url)) await cache.put(beside(url), Response.json({ version: VERSION, sha256, trial }));
  });

/** @param {string} url */
const forget = (url) => attempt(async () => (await caches.open(NAME)).delete(url));

/** Removes all models from the cache. */
export const clear = async () => !!(await attempt(() => caches.delete(NAME)));

/** @param {Blob} blob @param {string | undefined} sha256 @param {Report} report */
async function sound(blob, sha256, report) {
  // `crypto.subtle` is for secure contexts alone; the model file's own checksum is checked later in any case.
  if (!sha256 || !globalThis.crypto?.subtle) return true;
  report("verify", 0, blob.size);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  report("verify", blob.size, blob.size);
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

/** @param {string} url @param {RequestInit} options */
export async function get(url, options) {
  const response = await fetch(url, options).catch((cause) => {
    throw new MuseError("network", `${url} cannot be reached`, cause);
  });
  if (response.ok) return response;
  throw new MuseError("network", `${url} answers with status ${response.status}`);
}

/** @param {string} url @param {RequestCache} cache @param {Report} report */
async function download(url, cache, report) {
  const { headers, body, type } = await get(url, { cache });
  // The length counts what travels. Whether that is compressed, another origin need not tell.
  const length = headers.has("content-encoding") ? 0 : Number(headers.get("content-length"));
  /** @type {BlobPart[]} */
  const parts = [];
  let loaded = 0;
  let told = 0;
  try {
    for (const reader = /** @type {NonNullable<typeof body>} */ (body).getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      loaded += value.length;
      if (performance.now() - told < 50) continue;
      told = performance.now();
      report("download", loaded, Math.max(length, loaded));
    }
  } catch (cause) {
    throw Object.assign(new MuseError("network", `the download of ${url} broke off`, cause), { again: true });
  }
  report("download", loaded, loaded);
  return { blob: new Blob(parts), whole: !length || type === "cors" || length === loaded };
}

/**
 * Offers copies of the file until one is taken: the cached one, one from the network, and once more one from there. Asking
 * for the next says that the last was bad.
 *
 * @param {string} url
 * @param {{ cache: boolean, sha256?: string }} options
 * @param {Report} report
 * @returns {AsyncGenerator<{ blob: Blob, from: "cache" | "network" }, void>}
 */
export async function* copies(url, { cache, sha256 }, report) {
  const copy = cache && (await kept(url, sha256));
  if (copy) {
    const blob = await copy.blob().catch(() => new Blob());
    report("cache", blob.size, blob.size);
    if (await sound(blob, sha256, report)) yield { blob, from: "cache" };
    await forget(url);
  }
  let fault;
  for (const mode of /** @type {const} */ (["default", "reload"])) {
    try {
      const { blob, whole } = await download(url, mode, report);
      fault = undefined;
      if (!whole || !(await sound(blob, sha256, report)))
        fault = new MuseError("damaged", `${url} arrives ${whole ? "with another SHA-256" : "cut short"}`);
      else yield { blob, from: "network" };
    } catch (/** @type {any} */ error) {
      if (!error.again) throw error;
      fault = error;
    }
  }
  if (fault) throw fault;
}
