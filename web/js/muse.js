// MuSE in a web page: the whole of the public interface. The model itself lives in a worker.
import { MuseError, wrong } from "./error.js";
import { Engine, abortable } from "./engine.js";
import { capture, number } from "./picture.js";
import { clear, kept } from "./store.js";

export { MuseError };

const DEVICES = ["auto", "webgpu", "cpu"];
const BATCH = 16; // captions in one go: between two of them another caller gets a turn
const LONGEST = 2 ** 22; // UTF-16 units of a caption: beyond, the module's memory might not do

// A module with one vector instruction.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

const objects = new WeakMap();
let count = 0;

/** Two sources with the same key share a worker. */
function identify(source) {
  try {
    if (typeof source === "string" || source instanceof URL) {
      const url = new URL(source, globalThis.document?.baseURI ?? self.location.href);
      url.hash = "";
      return { url: url.href, key: url.href };
    }
    if (source instanceof Blob || source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
      const blob = source instanceof Blob ? source : new Blob([source]);
      if (!objects.has(source)) objects.set(source, `#${++count}`);
      return { blob, key: objects.get(source) };
    }
  } catch (cause) {
    throw wrong(`this is not where a model can be: ${cause.message}`, cause);
  }
  throw wrong("the model is an address, an ArrayBuffer, a Uint8Array or a Blob");
}

function known(device) {
  if (DEVICES.includes(device)) return device;
  throw wrong(`the device is one of ${DEVICES.join(", ")}`);
}

/** The options, whose usual members are of their types. */
function checked(given = {}, what = "the options are") {
  if (given === null || typeof given !== "object") throw wrong(`${what} an object`);
  const { signal, sha256, onProgress } = given;
  if (signal && !(typeof signal.addEventListener === "function" && "aborted" in signal)) throw wrong("the signal is an AbortSignal");
  if (onProgress && typeof onProgress !== "function") throw wrong("onProgress is a function");
  if (sha256 && !(typeof sha256 === "string" && /^[\da-f]{64}$/i.test(sha256))) throw wrong("the sha256 is a string of 64 hexadecimal digits");
  return given;
}

const lower = (sha256) => (sha256 ? sha256.toLowerCase() : undefined);

/** A caption to tag, with its picture. */
function item(given) {
  const { caption, image } = checked(given, "what is tagged is");
  if (typeof caption !== "string") throw wrong("a caption is a string");
  if (caption.length > LONGEST) throw wrong(`a caption of ${caption.length} characters is too long; cut it into parts of at most ${LONGEST}`);
  return { caption, image };
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
  #wished; // the engine of the last useDevice
  #key;
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

  static async cached(source, options) {
    const { sha256 } = checked(options);
    const { url } = identify(source);
    return !!url && !!(await kept(url, lower(sha256)));
  }

  static async load(source, options) {
    const { device = "auto", onProgress, signal, cache = true, sha256, warm = true } = checked(options);
    const { key, ...from } = identify(source);
    known(device);
    const { ok, reason } = Muse.supported();
    if (!ok) throw new MuseError("unsupported", reason);
    const muse = new Muse();
    const hash = lower(sha256);
    muse.#key = `${key} ${hash}`;
    muse.#user = {
      progress: (progress) => onProgress?.(progress),
      changed: (detail) => muse.#changed(detail),
    };
    const control = stopper(signal);
    if (control.signal.aborted) throw control.signal.reason;
    muse.#engine = muse.#take(device, { ...from, cache: !!cache, sha256: hash, warm: !!warm });
    try {
      await abortable(control.signal, muse.#engine.ready());
    } catch (error) {
      muse.#engine.leave(muse.#user);
      throw error;
    } finally {
      control.release();
    }
    // After the caller had its chance to listen.
    const { fallback } = muse;
    if (fallback) setTimeout(() => muse.#changed(fallback));
    return muse;
  }

  #take(device, options) {
    return Engine.take(`${this.#key} ${device}`, { ...options, device }, this.#user);
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
    const stays = known(device) === state.device.kind || (device === options.device && current);
    const next = (this.#wished = stays ? this.#engine : this.#take(device, options));
    try {
      await next.ready();
      this.#alive();
    } catch (error) {
      if (next === this.#wished) this.#wished = this.#engine;
      this.#leave(next);
      throw error;
    }
    const old = this.#engine; // perhaps no longer the one it was
    if (next !== this.#wished) this.#leave(next); // a later call has another wish
    else if (next !== old) {
      next.state.source = old.state.source;
      this.#engine = next;
      this.#leave(old);
      this.#changed(next.state.fallback ?? { reason: "asked", message: "" });
    }
    return this.device;
  }

  /** Leaves an engine that is neither in use nor wished for, once what runs is finished: it may run there. */
  #leave(engine) {
    Promise.allSettled([...this.#running].map(({ work }) => work)).then(() => {
      if (engine !== this.#engine && engine !== this.#wished) engine.leave(this.#user);
    });
  }

  async memory() {
    return this.#run(undefined, async (signal) => (await this.#engine.ask({ operation: "memory", signal })).answer);
  }

  async loseDevice() {
    return this.#run(undefined, async (signal) => void (await this.#engine.ask({ operation: "lose", signal })));
  }

  async tag(given) {
    const { signal, exchange = true, onProgress } = checked(given, "what is tagged is");
    return (await this.#tag([item(given)], signal, exchange, onProgress))[0];
  }

  async tagBatch(items, options) {
    const { signal, exchange = true, onProgress } = checked(options);
    if (typeof items !== "object" || typeof items?.[Symbol.iterator] !== "function") throw wrong("a batch is an array, or another iterable");
    const list = Array.from(items, item);
    const results = [];
    for (let at = 0; at < list.length; at += BATCH) {
      for (const result of await this.#tag(list.slice(at, at + BATCH), signal, exchange)) results.push(result);
      onProgress?.({ done: results.length, total: list.length });
    }
    return results;
  }

  /** Work that ends when the caller's signal fires, and with this model. */
  async #run(signal, work) {
    this.#alive();
    const control = stopper(signal);
    this.#running.add(control);
    try {
      if (control.signal.aborted) throw control.signal.reason;
      return await (control.work = work(control.signal));
    } finally {
      this.#running.delete(control);
      control.release();
    }
  }

  #tag(items, signal, exchange, onProgress) {
    const told = onProgress && (([done, total]) => onProgress({ done, total }));
    return this.#run(signal, (signal) => this.#work(items, signal, exchange, told));
  }

  async #work(items, signal, exchange, told) {
    const called = performance.now();
    const engine = this.#engine;
    const captions = items.map(({ caption }) => caption);
    const images = items.map(({ image }) => (image == null ? undefined : { ...number(image), image, shown: image.src }));
    const numbers = images.map((picture) => picture?.id ?? null);
    const all = [...new Map(images.map((picture) => [picture?.id, picture])).values()].filter(Boolean);
    const pictures = []; // what is sent
    let over = false;
    const capturing = (wanted) =>
      Promise.all(all.filter(wanted).map(async ({ id, once, image, shown }) => {
        const content = await capture(image, signal);
        if (over || image.src !== shown) content.bitmap?.close();
        if (image.src !== shown) throw new MuseError("image", "the element shows another picture by now");
        if (!over) pictures.push({ number: id, once, content });
      }));
    try {
      // What may look otherwise later is taken at once, as is what was never seen, and a Blob costs nothing. Of the rest the worker
      // says what it lacks.
      await abortable(signal, capturing(({ once, fresh, image }) => once || fresh || image instanceof Blob));
      for (;;) {
        const queued = performance.now();
        const { answer, sent } = await engine.ask({
          operation: "tag", data: { captions, numbers, exchange: !!exchange }, pictures, signal, told,
        });
        if (answer.missing) {
          await abortable(signal, capturing(({ id }) => answer.missing.includes(id)));
          continue;
        }
        const total = performance.now() - called;
        return answer.answers.map(({ entities, timings, ...rest }, index) => ({
          ...rest,
          entities: entities.map(({ type, start, end, score }) => ({ type, text: captions[index].slice(start, end), start, end, score })),
          device: engine.state.device,
          timings: { ...timings, queue: sent - queued, decode: timings.decode + queued - called, total },
        }));
      }
    } finally {
      over = true;
      for (const { content } of pictures) content.bitmap?.close();
    }
  }

  dispose() {
    this.#disposed = true;
    for (const control of this.#running) control.abort(gone());
    this.#wished?.leave(this.#user);
    this.#engine.leave(this.#user);
  }
}
