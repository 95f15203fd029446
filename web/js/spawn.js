// Starts the worker, wherever the package and the page lie.
import { MuseError } from "./error.js";

/**
 * @typedef {{ createScriptURL: (url: string) => string }} Policy
 * @typedef {{ trustedTypes?: { createPolicy: (name: string, rules: Policy) => Policy } }} Trusting
 */

/** @type {Policy | undefined} */
let policy;

/**
 * For pages that require Trusted Types: they allow the policy by its name. It lets pass what this file makes.
 *
 * @param {string} address
 */
function trusted(address) {
  try {
    policy ??= /** @type {Trusting} */ (self).trustedTypes?.createPolicy("muse-web", { createScriptURL: (url) => url });
  } catch {} // not allowed: should that matter, the worker's start says so
  return policy ? policy.createScriptURL(address) : address;
}

/** The package's worker, at its own address. */
function own() {
  // Bundlers know a worker by the very words below, so that for their moment the name stands for one that is trusted.
  const { Worker: Real } = self;
  /** @type {any} */ (self).Worker = function (/** @type {URL} */ url, /** @type {WorkerOptions} */ options) {
    return new Real(trusted(url.href), options);
  };
  try {
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  } finally {
    self.Worker = Real;
  }
}

/** A worker must be of the page's own origin; what it imports need not be. */
function foreign() {
  const script = `import ${JSON.stringify(import.meta.url.replace(/[^/]*$/, "worker.js"))}`;
  // A page without an origin, as in a sandboxed frame, may not start one from a Blob.
  if (self.origin === "null") return new Worker(trusted(`data:text/javascript,${encodeURIComponent(script)}`), { type: "module" });
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const worker = new Worker(trusted(address), { type: "module" });
  worker.addEventListener("message", () => URL.revokeObjectURL(address), { once: true });
  return worker;
}

export function spawn() {
  try {
    return new URL(import.meta.url).origin === self.origin ? own() : foreign();
  } catch (/** @type {any} */ cause) {
    throw new MuseError("unsupported", `the worker does not start: ${cause.message}`, cause);
  }
}
