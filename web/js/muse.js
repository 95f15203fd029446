// MuSE in a web page: the whole of the public interface. The model itself lives in a worker.
import { MuseError } from "./error.js";
import { Engine, abortable } from "./engine.js";
import { capture, number } from "./picture.js";
import { clear, kept } from "./store.js";

export { MuseError };

const DEVICES = ["auto", "webgpu", "cpu"];
const BATCH = 16; // captions in one go: between two of them another caller gets a turn

// A module with one vector instruction.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

const objects = new WeakMap();
let count = 0;

/** Two sources with the same key share a worker. */
function identify(source) {
  if (typeof source === "string" || source instanceof URL) {
    const url = new URL(source, globalThis.document?.baseURI ?? self.location.href);
    url.hash = "";
    return { url: url.href, key: url.href };
  }
  if (!(source instanceof Blob || source instanceof ArrayBuffer || ArrayBuffer.isView(source)))
    throw new MuseError("argument", "the model is an address, an ArrayBuffer, a Uint8Array or a Blob");
  if (!objects.has(source)) objects.set(source, `#${++count}`);
  return { blob: source instanceof Blob ? source : new Blob([source]), key: objects.get(source) };
}

function known(device) {
  if (DEVICES.includes(device)) return device;
  throw new MuseError("argument", `no device is called "${device}"`);
}

const gone = () => new MuseError("disposed", "this model was disposed of");

/** One controller for the caller's signal and for the end of the model. */
function stopper(signal) {
  const control = new AbortController();
  const stop = () => control.abort(new MuseError("aborted", "it was aborted", signal.reason));
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop);
  control.release = () => signal?.removeEventListener("abort", stop);
  return control;
}

export class Muse extends EventTarget {
  #engine;
  #key;
  #options;
  #user;
  #running = new Set();
  #disposed = false;

  static supported() {
    const lacks = (reason) => ({ ok: false, reason });
    if (!globalThis.WebAssembly?.validate(Uint8Array.from(SIMD)))
      return lacks("This browser has no WebAssembly with SIMD, which the model needs.");
    if (!globalThis.Worker) return lacks("Workers, which the model runs in, are not available here.");
    return { ok: true, reason: "" };
  }

  static clearCache = clear;

  static async cached(source, { sha256 } = {}) {
    const { url } = identify(source);
    return !!url && !!(await kept(url, sha256?.toLowerCase()));
  }

  static async load(source, { device = "auto", onProgress, signal, cache = true, sha256, warm = true } = {}) {
    const { ok, reason } = Muse.supported();
    if (!ok) throw new MuseError("unsupported", reason);
    const { key, ...from } = identify(source);
    const muse = new Muse();
    muse.#options = { ...from, cache, sha256: sha256?.toLowerCase(), warm };
    muse.#key = `${key} ${muse.#options.sha256}`;
    muse.#user = {
      progress: (progress) => onProgress?.(progress),
      changed: (detail) => muse.#changed(detail),
    };
    const control = stopper(signal);
    if (control.signal.aborted) throw control.signal.reason;
    muse.#engine = muse.#take(known(device));
    try {
      await abortable(control.signal, muse.#engine.ready());
    } catch (error) {
      muse.#engine.leave(muse.#user);
      throw error;
    } finally {
      control.release();
    }
    // After the caller had its chance to listen.
    if (muse.fallback) setTimeout(() => muse.#changed(muse.fallback));
    return muse;
  }

  #take(device, blob = this.#options.blob) {
    return Engine.take(`${this.#key} ${device}`, { ...this.#options, blob, device }, this.#user);
  }

  #changed({ reason, message }) {
    if (!this.#disposed) this.dispatchEvent(new CustomEvent("devicechange", { detail: { device: this.device, reason, message } }));
  }

  get device() {
    return this.#engine.state.device;
  }

  get info() {
    return this.#engine.state.info;
  }

  get source() {
    return this.#engine.state.source;
  }

  get fallback() {
    return this.#engine.state.fallback ?? null;
  }

  #alive() {
    if (this.#disposed) throw gone();
  }

  async useDevice(device) {
    this.#alive();
    const { options, current, state } = this.#engine;
    if (known(device) === state.device.kind || (device === options.device && current)) return state.device;
    const next = this.#take(device, options.blob);
    try {
      await next.ready();
      this.#alive();
    } catch (error) {
      next.leave(this.#user);
      throw error;
    }
    next.state.source = state.source;
    const old = this.#engine; // perhaps no longer the one it was
    if (old === next) return this.device;
    this.#engine = next;
    // What runs on the old one may finish there.
    Promise.allSettled([...this.#running].map(({ work }) => work)).then(() => old.leave(this.#user));
    this.#changed(next.state.fallback ?? { reason: "asked", message: "" });
    return this.device;
  }

  async memory() {
    this.#alive();
    return this.#engine.call("memory");
  }

  async loseDevice() {
    this.#alive();
    await this.#engine.call("lose").catch(() => {}); // the answer is the loss itself
  }

  async tag({ caption, image, signal, exchange = true } = {}) {
    return (await this.#tag([{ caption, image }], signal, exchange))[0];
  }

  async tagBatch(items, { signal, exchange = true } = {}) {
    const list = [...items];
    const results = [];
    for (let at = 0; at < list.length; at += BATCH)
      results.push(...(await this.#tag(list.slice(at, at + BATCH), signal, exchange)));
    return results;
  }

  async #tag(items, signal, exchange) {
    this.#alive();
    if (items.some(({ caption }) => typeof caption !== "string")) throw new MuseError("argument", "a caption is a string");
    const control = stopper(signal);
    control.work = this.#work(items, control.signal, exchange);
    this.#running.add(control);
    try {
      return await control.work;
    } finally {
      this.#running.delete(control);
      control.release();
    }
  }

  async #work(items, signal, exchange) {
    if (signal.aborted) throw signal.reason;
    const called = performance.now();
    const engine = this.#engine;
    const images = items.map(({ image }) => (image == null ? undefined : { ...number(image), image }));
    const captured = Promise.all(
      images.map(async (picture) => {
        if (picture && !engine.holds(picture.id)) picture.content = await capture(picture.image, signal);
      }),
    );
    try {
      await abortable(signal, captured);
      const queued = performance.now();
      const captions = items.map(({ caption }) => caption);
      const { answers, sent } = await engine.tag({ captions, images, exchange, signal });
      const total = performance.now() - called;
      return answers.map(({ entities, timings, ...answer }, index) => ({
        ...answer,
        entities: entities.map(({ type, start, end, score }) => ({ type, text: captions[index].slice(start, end), start, end, score })),
        device: engine.state.device,
        timings: { ...timings, queue: sent - queued, decode: timings.decode + queued - called, total },
      }));
    } finally {
      for (const picture of images) picture?.content?.bitmap?.close();
    }
  }

  dispose() {
    this.#disposed = true;
    for (const control of this.#running) control.abort(gone());
    this.#engine.leave(this.#user);
  }
}
