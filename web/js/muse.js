// MuSE in a web page: the whole of the public interface. The model itself lives in a worker.
import { MuseError, wrong } from "./error.js";
import { Engine, abortable } from "./engine.js";
import { capture, number } from "./picture.js";
import { clear, kept } from "./store.js";

export { MuseError };

/**
 * @import { Numbered } from "./picture.js"
 * @import { Answer } from "./worker.js"
 * @import { Job, Options, Reason, User } from "./engine.js"
 *
 * @typedef {import("./error.js").ErrorCode} ErrorCode
 *
 * Where a model runs.
 * @typedef {object} Device
 * @property {"webgpu" | "cpu"} kind
 * @property {string} name The graphics adapter's name, or the CPU's.
 *
 * @typedef {"auto" | "webgpu" | "cpu"} DeviceChoice
 *
 * @typedef {string | URL | ArrayBuffer | Uint8Array | Blob} ModelSource
 *
 * @typedef {object} Progress
 * @property {"download" | "cache" | "verify" | "compile" | "prepare"} phase In this order, as far as they apply.
 * @property {number} loaded Bytes; passes where the phase is `"prepare"`.
 * @property {number} total As `loaded`, as far as it is known: a download of unknown length has what is loaded.
 *
 * @typedef {object} LoadOptions
 * @property {DeviceChoice} [device] `"auto"` by default: the CPU, and WebGPU where that was found out to be faster.
 * @property {(progress: Progress) => void} [onProgress]
 * @property {AbortSignal} [signal]
 * @property {boolean} [cache] Keep the file in the Cache API, once it is loaded from the network, and take it from there; `true` by
 *   default.
 * @property {string} [sha256] The SHA-256 of the file at an address, in hexadecimal. A copy in the cache with another one is
 *   fetched anew; without it a copy in the cache is taken for good. It is not checked in an insecure context, where browsers
 *   cannot, nor of bytes that are given; the file's own checksum always is.
 * @property {boolean} [warm] Run once for each length of text, so that the first real call is fast; `true` by default.
 *
 * @typedef {Blob | string | URL | ImageData | ImageBitmap | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas} Picture
 *
 * @typedef {object} TagItem
 * @property {string} caption At most 4,194,304 UTF-16 units.
 * @property {Picture | null} [image] A file (JPEG, PNG, WebP, GIF) as a Blob or by its address, or something that has pixels. Of
 *   Blobs, bitmaps and image elements that are given again the last 16 are not looked at again; canvases and ImageData always
 *   are, for they may have changed.
 *
 * @typedef {object} TagOptions
 * @property {AbortSignal} [signal] Ends the wait at once with code `"aborted"`, and the work at its next step.
 * @property {boolean} [exchange] Tell what the exchange did; `true` by default.
 * @property {string} [style] One of the model's annotation styles; `info.style` by default.
 * @property {(progress: { done: number, total: number }) => void} [onProgress] How far it is: `tag` counts the parts that a long
 *   caption is cut into, `tagBatch` captions.
 *
 * @typedef {object} Span
 * @property {number} start In UTF-16 units: `caption.slice(start, end)`.
 * @property {number} end As `start`; one past the last.
 *
 * @typedef {object} Entity
 * @property {string} type Of the model's own, for instance `"PER"`.
 * @property {string} text
 * @property {number} start In UTF-16 units: `caption.slice(start, end) === text`.
 * @property {number} end As `start`; one past the last.
 * @property {number} score Probability of exactly this span with this type.
 *
 * @typedef {object} Sentiment
 * @property {string} label
 * @property {number} score
 * @property {Record<string, number>} probabilities
 *
 * @typedef {object} ExchangedToken
 * @property {number} attention Attention that its stream's class token pays to it.
 * @property {number} exchanged Share of it that took the other stream's mean, from 0 to 1.
 *
 * @typedef {object} ExchangeLayer
 * @property {boolean} exchanges
 * @property {ExchangedToken[]} words One for each of the result's words.
 * @property {ExchangedToken[]} regions 8×8 regions of the picture, row by row; none without a picture.
 * @property {{ words: number | null, regions: number | null }} margins Distance between the scores on the two sides of the choice.
 *
 * @typedef {object} Timings
 * @property {number} queue Waiting for earlier calls.
 * @property {number} decode Fetching and decoding the picture.
 * @property {number} picture The image encoder.
 * @property {number} model The text encoder, the exchange and the heads.
 * @property {number} total From the call to the result.
 *
 * @typedef {object} TagResult
 * @property {Entity[]} entities
 * @property {Span[]} words
 * @property {Sentiment | null} sentiment `null` where the model has no such head, and where there is neither a word nor a picture.
 * @property {{ layers: ExchangeLayer[] } | null} exchange `null` where it was not asked for.
 * @property {number} pieces Length of the text in word pieces.
 * @property {number} windows How many windows it took.
 * @property {Device} device
 * @property {Timings} timings Milliseconds; those of a batch are shared by its captions.
 *
 * @typedef {object} ModelInfo
 * @property {string[]} tags
 * @property {string[]} classes
 * @property {string[]} styles How entities may be annotated; none where there is but one way.
 * @property {string | null} style The one that answers where none is asked for.
 * @property {number} maxPieces
 * @property {number} layers
 * @property {[first: number, last: number]} exchangeLayers
 * @property {number} theta
 * @property {number} imageSize
 * @property {number} weights
 *
 * @typedef {object} Fallback
 * @property {"no-webgpu" | "no-adapter" | "device-lost" | "device-failed"} reason
 * @property {string} message One line for people.
 *
 * What a caption and one with a picture took together, in milliseconds; WebGPU has no time where it failed.
 * @typedef {object} Trial
 * @property {string} adapter The graphics adapter's name.
 * @property {number} cpu
 * @property {number} [webgpu]
 *
 * @typedef {object} DeviceChange
 * @property {Device} device
 * @property {Fallback["reason"] | "asked" | "compared"} reason `"asked"` after `useDevice`, `"compared"` after `"auto"` has tried both:
 *   the device may then be the same as before.
 * @property {string} message
 *
 * @typedef {{ devicechange: CustomEvent<DeviceChange> }} MuseEventMap
 *
 * @typedef {<K extends keyof MuseEventMap>(type: K, listener: (this: Muse, event: MuseEventMap[K]) => void,
 *   options?: boolean | AddEventListenerOptions) => void} Listen
 * @typedef {{ addEventListener: Listen, removeEventListener: Listen }} Listening
 */

const DEVICES = ["auto", "webgpu", "cpu"];
const BATCH = 16; // captions in one go: between two of them another caller gets a turn
const LONGEST = 2 ** 22; // UTF-16 units of a caption: beyond, the module's memory might not do

// A module with one vector instruction.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

/** @type {WeakMap<object, string>} */
const objects = new WeakMap();
let count = 0;

/**
 * Two sources with the same key share a worker.
 *
 * @param {ModelSource} source
 * @returns {{ key: string, url?: string, blob?: Blob }}
 */
function identify(source) {
  try {
    if (typeof source === "string" || source instanceof URL) {
      const url = new URL(source, globalThis.document?.baseURI ?? self.location.href);
      url.hash = "";
      return { url: url.href, key: url.href };
    }
    if (source instanceof Blob || source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
      const blob = source instanceof Blob ? source : new Blob([/** @type {BufferSource} */ (source)]);
      if (!objects.has(source)) objects.set(source, `#${++count}`);
      return { blob, key: /** @type {string} */ (objects.get(source)) };
    }
  } catch (/** @type {any} */ cause) {
    throw wrong(`this is not where a model can be: ${cause.message}`, cause);
  }
  throw wrong("the model is an address, an ArrayBuffer, a Uint8Array or a Blob");
}

/** @param {DeviceChoice} device */
function known(device) {
  if (DEVICES.includes(device)) return device;
  throw wrong(`the device is one of ${DEVICES.join(", ")}`);
}

/**
 * The options, whose usual members are of their types.
 *
 * @template {object} T
 * @param {T} [given]
 * @returns {T}
 */
function checked(given = /** @type {T} */ ({}), what = "the options are") {
  if (given === null || typeof given !== "object") throw wrong(`${what} an object`);
  const { signal, sha256, onProgress } = /** @type {LoadOptions} */ (given);
  if (signal && !(typeof signal.addEventListener === "function" && "aborted" in signal)) throw wrong("the signal is an AbortSignal");
  if (onProgress && typeof onProgress !== "function") throw wrong("onProgress is a function");
  if (sha256 && !(typeof sha256 === "string" && /^[\da-f]{64}$/i.test(sha256))) throw wrong("the sha256 is a string of 64 hexadecimal digits");
  return given;
}

const lower = (/** @type {string | undefined} */ sha256) => (sha256 ? sha256.toLowerCase() : undefined);

/** A caption to tag, with its picture. @param {TagItem} given */
function item(given) {
  const { caption, image } = checked(given, "what is tagged is");
  if (typeof caption !== "string") throw wrong("a caption is a string");
  if (caption.length > LONGEST) throw wrong(`a caption of ${caption.length} characters is too long; cut it into parts of at most ${LONGEST}`);
  return { caption, image };
}

const gone = () => new MuseError("disposed", "this model was disposed of");

/** One controller for the caller's signal and for the end of the model. @param {AbortSignal} [signal] */
function stopper(signal) {
  const control = /** @type {AbortController & { release: () => void, work?: Promise<unknown> }} */ (new AbortController());
  const stop = () => control.abort(new MuseError("aborted", "it was aborted", /** @type {AbortSignal} */ (signal).reason));
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop);
  control.release = () => signal?.removeEventListener("abort", stop);
  return control;
}

/** A model that is ready to tag. */
export class Muse extends (/** @type {new () => Listening & EventTarget} */ (EventTarget)) {
  /** @type {Engine} */
  #engine;
  /** @type {Engine | undefined} */
  #wished; // the engine of the last useDevice
  /** @type {string} */
  #key;
  /** @type {User} */
  #user;
  /** @type {Set<ReturnType<typeof stopper>>} */
  #running = new Set();
  #disposed = false;

  /** @private */
  constructor() {
    super();
  }

  /** Whether this browser can run it, and if not, why. */
  static supported() {
    const lacks = (/** @type {string} */ reason) => ({ ok: false, reason });
    if (!globalThis.WebAssembly?.validate(Uint8Array.from(SIMD)))
      return lacks("This browser has no WebAssembly with SIMD, which the model needs.");
    if (!globalThis.Worker) return lacks("Workers, which the model runs in, are not available here.");
    return { ok: true, reason: "" };
  }

  /** Removes all models from the cache. @type {() => Promise<boolean>} */
  static clearCache = clear;

  /**
   * Whether the model is in this browser's cache now; where nothing may be kept it is not.
   *
   * @param {ModelSource} source
   * @param {{ sha256?: string }} [options]
   */
  static async cached(source, options) {
    const { sha256 } = checked(options);
    const { url } = identify(source);
    return !!url && !!(await kept(url, lower(sha256)));
  }

  /**
   * Loads a model. The same one loaded twice on a page, with the same `device` and `sha256`, shares one worker.
   *
   * @param {ModelSource} source
   * @param {LoadOptions} [options]
   */
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

  /** @param {DeviceChoice} device @param {Options} options */
  #take(device, options) {
    return Engine.take(`${this.#key} ${device}`, { ...options, device }, this.#user);
  }

  /** @param {Reason} why */
  #changed({ reason, message }) {
    if (!this.#disposed) this.dispatchEvent(new CustomEvent("devicechange", { detail: { device: this.device, reason, message } }));
  }

  /** Where it runs now. */
  get device() {
    return this.#engine.state.device;
  }

  /** What the model is. */
  get info() {
    return this.#engine.state.info;
  }

  /**
   * Where the file came from.
   *
   * @returns {{ from: "network" | "cache" | "bytes", bytes: number }}
   */
  get source() {
    return this.#engine.state.source;
  }

  /** Why this worker runs on the CPU although it was started for another device, else `null`. */
  get fallback() {
    return this.#engine.state.fallback ?? null;
  }

  /**
   * What `"auto"` found out of the devices, now or when this model was first loaded here, else `null`.
   *
   * @returns {Trial | null}
   */
  get trial() {
    return this.#engine.state.trial ?? null;
  }

  #alive() {
    if (this.#disposed) throw gone();
  }

  /**
   * Moves to another device; what runs finishes on the old one. Of several calls the last counts; each gives what is in use then.
   *
   * @param {DeviceChoice} device
   */
  async useDevice(device) {
    this.#alive();
    const { options, current, state, settled } = this.#engine;
    const stays = (known(device) === state.device.kind && settled) || (device === options.device && current);
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

  /**
   * Leaves an engine that is neither in use nor wished for, once what runs is finished: it may run there.
   *
   * @param {Engine} engine
   */
  #leave(engine) {
    Promise.allSettled([...this.#running].map(({ work }) => work)).then(() => {
      if (engine !== this.#engine && engine !== this.#wished) engine.leave(this.#user);
    });
  }

  /**
   * Memory of the WebAssembly module, which holds the model where the CPU runs it.
   *
   * @returns {Promise<{ wasmBytes: number }>}
   */
  async memory() {
    return this.#run(undefined, async (signal) => (await this.#engine.ask({ operation: "memory", signal })).answer);
  }

  /**
   * Loses the graphics device on purpose, when its turn comes, so that a site can see how it takes that.
   *
   * @returns {Promise<void>}
   */
  async loseDevice() {
    return this.#run(undefined, async (signal) => void (await this.#engine.ask({ operation: "lose", signal })));
  }

  /**
   * Tags one caption, with its picture or without.
   *
   * @param {TagItem & TagOptions} given
   */
  async tag(given) {
    const { onProgress, ...options } = checked(given, "what is tagged is");
    return (await this.#tag([item(given)], options, onProgress))[0];
  }

  /**
   * Tags many; faster than one by one. One that fails fails all.
   *
   * @param {Iterable<TagItem>} items
   * @param {TagOptions} [options]
   */
  async tagBatch(items, options) {
    const { onProgress, ...rest } = checked(options);
    if (typeof items !== "object" || typeof items?.[Symbol.iterator] !== "function") throw wrong("a batch is an array, or another iterable");
    const list = Array.from(items, item);
    /** @type {TagResult[]} */
    const results = [];
    for (let at = 0; at < list.length; at += BATCH) {
      for (const result of await this.#tag(list.slice(at, at + BATCH), rest)) results.push(result);
      onProgress?.({ done: results.length, total: list.length });
    }
    return results;
  }

  /**
   * Work that ends when the caller's signal fires, and with this model.
   *
   * @template T
   * @param {AbortSignal | undefined} signal
   * @param {(signal: AbortSignal) => Promise<T>} work
   * @returns {Promise<T>}
   */
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

  /**
   * @param {TagItem[]} items
   * @param {TagOptions} options
   * @param {TagOptions["onProgress"]} [onProgress]
   */
  #tag(items, { signal, exchange = true, style }, onProgress) {
    /** @type {Job["told"]} */
    const told = onProgress && (([done, total]) => onProgress({ done, total }));
    return this.#run(signal, (signal) => this.#work(items, signal, { exchange: !!exchange, style: this.#place(style) }, told));
  }

  /** The place of a style among the model's. @param {string} [style] */
  #place(style) {
    if (style === undefined) return;
    const { styles } = this.info;
    if (styles.includes(style)) return styles.indexOf(style);
    throw wrong(`the model has no style ${JSON.stringify(style)}; ${styles.length ? `its styles are ${styles.join(", ")}` : "it has none"}`);
  }

  /**
   * @param {TagItem[]} items
   * @param {AbortSignal} signal
   * @param {{ exchange: boolean, style?: number }} wishes
   * @param {Job["told"]} told
   * @returns {Promise<TagResult[]>}
   */
  async #work(items, signal, wishes, told) {
    const called = performance.now();
    const engine = this.#engine;
    const captions = items.map(({ caption }) => caption);
    const images = items.map((/** @type {{ image?: any }} */ { image }) =>
      image == null ? undefined : { ...number(image), image, shown: image.src });
    const numbers = images.map((picture) => picture?.id ?? null);
    /** @type {(Numbered & { image: any, shown: any })[]} */
    const all = /** @type {any[]} */ ([...new Map(images.map((picture) => [picture?.id, picture])).values()]).filter(Boolean);
    /** @type {NonNullable<Job["pictures"]>} */
    const pictures = []; // what is sent
    let over = false;
    const capturing = (/** @type {(picture: typeof all[0]) => unknown} */ wanted) =>
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
          operation: "tag", data: { captions, numbers, ...wishes }, pictures, signal, told,
        });
        if (answer.missing) {
          await abortable(signal, capturing(({ id }) => answer.missing.includes(id)));
          continue;
        }
        const total = performance.now() - called;
        return /** @type {Answer[]} */ (answer.answers).map(({ entities, timings, ...rest }, index) => ({
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

  /** Frees the worker, unless another still uses it. */
  dispose() {
    this.#disposed = true;
    for (const control of this.#running) control.abort(gone());
    this.#wished?.leave(this.#user);
    this.#engine.leave(this.#user);
  }
}
