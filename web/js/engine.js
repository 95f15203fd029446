// A worker with its model, shared by all who ask for the same: one operation after the other, and a new start where it fails.
import { MuseError } from "./error.js";
import { parcel } from "./picture.js";
import { spawn } from "./spawn.js";
import { remember } from "./store.js";

/**
 * @import { Device, DeviceChange, DeviceChoice, Fallback, ModelInfo, Muse, Progress, Trial } from "./muse.js"
 * @import { Content } from "./picture.js"
 * @import { Sent } from "./worker.js"
 *
 * What the worker is started with, the device apart; and what it is then.
 * @typedef {{ url?: string, blob?: Blob, cache: boolean, sha256?: string, warm: boolean }} Options
 * @typedef {{ device: Device, info: ModelInfo, source: Muse["source"], fallback?: Fallback, trial?: Trial, untried?: string }} State
 *
 * Who is told of a change.
 * @typedef {Pick<DeviceChange, "reason" | "message">} Reason
 * @typedef {{ progress: (progress: Progress) => void, changed: (reason: Reason) => void }} User
 *
 * An operation; `told` hears of the parts that are done.
 * @typedef {(parts: [done: number, total: number]) => void} Told
 * @typedef {{ number: number, once?: boolean, content: Content }} Captured
 * @typedef {{ operation: string, data?: object, pictures?: Captured[], signal: AbortSignal, told?: Told }} Job
 * @typedef {(value: any) => void} Settle
 * @typedef {Job & { resolve: Settle, reject: Settle, again?: boolean }} Queued
 * @typedef {{ id: number, resolve: Settle, reject: Settle, told?: Told }} Call
 */

const PING = 5000; // milliseconds
const DEAF = 24; // pings that are not heard, and the worker is given up
const PAUSE = 1000; // milliseconds without work before another device is tried
const PATIENCE = 120_000; // milliseconds that its start may take, and its passes
/** @type {Map<string, Engine>} */
const engines = new Map();

/**
 * Settles as the work does, or at once when the signal fires.
 *
 * @type {<T>(signal: AbortSignal, work: Promise<T>) => Promise<T>}
 */
export const abortable = (signal, work) =>
  new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });

// What a browser itself throws on the way: the bitmap was closed, or its pixels are another origin's.
const unusable = (/** @type {any} */ cause) =>
  cause instanceof MuseError ? cause : new MuseError("image", `the picture cannot be used: ${cause.message}`, cause);

/** Stands for the users that a rival does not have. @type {User} */
const RIVAL = { progress() {}, changed() {} };

/** Whether the visitor wants little to be loaded. */
const saves = () =>
  /** @type {any} */ (navigator).connection?.saveData || globalThis.matchMedia?.("(prefers-reduced-data: reduce)").matches;

export class Engine {
  /** @type {Set<User>} */
  users = new Set();
  /** @type {Options & { device: DeviceChoice }} */
  options;
  /** @type {State} */
  state;
  /** @type {string} */
  #key;
  /** @type {Worker | undefined} */
  #worker;
  /** @type {boolean | undefined} */
  #started;
  /** @type {Promise<void> | undefined} */
  #ready;
  #over = false;
  /** @type {Fallback | undefined} */
  #reason; // why it has to start again
  /** @type {any} */
  #source;
  /** @type {Call | undefined} */
  #call; // what the worker is at
  #count = 0;
  #unheard = 0;
  /** @type {(Queued | (() => void))[]} */
  #jobs = []; // operations, and what is done between two of them
  #busy = false;
  /** @type {Engine | undefined} */
  #rival; // the same model on another device, while it is tried

  /**
   * The engine for this, which may be there already. Whoever takes it leaves it again.
   *
   * @param {string} key
   * @param {Options & { device: DeviceChoice }} options
   * @param {User} user
   */
  static take(key, options, user) {
    const engine = engines.get(key) ?? new Engine(key, options);
    engine.users.add(user);
    return engine;
  }

  /** @param {string} key @param {Options & { device: DeviceChoice }} options */
  constructor(key, options) {
    this.#key = key;
    this.options = options;
    engines.set(key, this);
    this.#begin(options.device).catch(() => this.#forget());
  }

  /** Whether a later wish for the same is to get this engine too. */
  get current() {
    return engines.get(this.#key) === this;
  }

  /** Whether it stays on its device, unless that fails. */
  get settled() {
    return !this.state.untried;
  }

  async ready() {
    if (this.#over) throw new MuseError("disposed", "the model was disposed of");
    return this.#ready ?? this.#begin("cpu");
  }

  /** @param {User} user */
  leave(user) {
    this.users.delete(user);
    if (this.users.size) return;
    this.#over = true;
    this.#forget();
    this.#rival?.leave(RIVAL);
    this.#end("disposed", "the model was disposed of");
  }

  /**
   * Puts an operation into the queue. Gives the worker's answer, and when it was asked.
   *
   * @param {Job} job
   * @returns {Promise<{ answer: any, sent: number }>}
   */
  ask(job) {
    const work = new Promise((resolve, reject) => {
      this.#jobs.push({ ...job, resolve, reject });
      this.#next();
    });
    return abortable(job.signal, work);
  }

  #forget() {
    if (this.current) engines.delete(this.#key);
  }

  /** @param {DeviceChoice} device */
  #begin(device) {
    const ready = (this.#ready = this.#start(device));
    // A failure does not stay: the network may be back at the next call.
    ready.catch(() => {
      if (this.#ready === ready) this.#ready = undefined;
    });
    return ready;
  }

  /** @param {string} operation @param {object} data @param {Transferable[]} [transfer] @param {Told} [told] */
  #send(operation, data, transfer, told) {
    const worker = /** @type {Worker} */ (this.#worker);
    this.#unheard = 0;
    const watch = setInterval(() => {
      if (worker !== this.#worker) return;
      if (this.#unheard++ < DEAF) worker.postMessage({ ping: true });
      else this.#fail("device-failed", "The worker does not answer any more.");
    }, PING);
    return new Promise((resolve, reject) => {
      this.#call = { id: ++this.#count, resolve, reject, told };
      worker.postMessage({ id: this.#count, operation, ...data }, /** @type {Transferable[]} */ (transfer));
    }).finally(() => clearInterval(watch));
  }

  /** @param {import("./error.js").ErrorCode} code @param {string} message */
  #end(code, message) {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#call?.reject(new MuseError(code, message));
    this.#call = undefined;
  }

  /** @param {any} message */
  #hear({ id, value, error, progress, parts, lost, blob, source }) {
    this.#unheard = 0;
    if (progress) for (const { progress: tell } of this.users) tell(progress);
    if (parts) this.#call?.told?.(parts);
    if (blob) {
      this.options = { ...this.options, blob };
      if (!this.#source || source.from !== "bytes") this.#source = source;
    }
    if (lost !== undefined) this.#fail("device-lost", `The graphics device was lost: ${lost}`);
    if (!id || id !== this.#call?.id) return;
    const { resolve, reject } = /** @type {Call} */ (this.#call);
    this.#call = undefined;
    if (error) reject(new MuseError(error.code, error.message));
    else resolve(value);
  }

  /** @param {Worker} worker */
  #heed(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => worker === this.#worker && this.#hear(data);
    worker.onmessageerror = () => worker === this.#worker && this.#fail("device-failed", "The worker’s answer cannot be read.");
    worker.onerror = (event) => {
      event.preventDefault();
      const why = event.message ? `: ${event.message}` : "; look at its address and at the Content-Security-Policy";
      if (worker !== this.#worker) return;
      if (this.#started) this.#fail("device-failed", `The worker failed${why}`);
      else this.#end("unsupported", `the worker does not start${why}`);
    };
  }

  /** @param {DeviceChoice} device @returns {Promise<void>} */
  async #start(device) {
    this.#started = false;
    try {
      this.#heed(spawn());
      const state = await this.#send("load", { ...this.options, device });
      // What is started from memory later is not to come back into a cache that was cleared.
      this.options = { ...this.options, cache: false };
      this.#started = true;
      const again = this.state && this.#reason;
      this.state = { ...state, source: this.#source, fallback: this.#reason ?? state.fallback };
      this.#reason = undefined;
      if (state.untried) this.#compete(state.untried);
      if (again) for (const { changed } of this.users) changed(again);
    } catch (/** @type {any} */ error) {
      this.#end(error.code, error.message);
      if (error.code !== "device" || device === "cpu" || !this.users.size) throw error;
      this.#reason ??= { reason: "device-failed", message: `WebGPU failed: ${error.message}` };
      // What was found out once does not hold any more.
      if (device === "auto" && this.options.url) await remember(this.options.url, undefined);
      return this.#start("cpu");
    }
  }

  /**
   * Finds out on which device it is faster, in a second worker while this one has nothing to do, and goes on there. An adapter that
   * fails is not tried again; one whose module does not arrive is, the next time.
   *
   * @param {string} adapter
   */
  async #compete(adapter) {
    let webgpu;
    try {
      do await new Promise((resolve) => setTimeout(resolve, PAUSE));
      while (this.#busy);
      if (this.#over || saves()) return;
      // Nobody uses it, so that it ends where it fails.
      const rival = (this.#rival = new Engine(`${this.#key} rival`, { ...this.options, device: "webgpu", warm: false }));
      try {
        await abortable(AbortSignal.timeout(PATIENCE), rival.ready());
        webgpu = await rival.ask({ operation: "time", signal: AbortSignal.timeout(PATIENCE) }).then(({ answer }) => answer, () => {});
      } catch (/** @type {any} */ error) {
        if (error.code !== "device") return;
      }
      const cpu = (await this.ask({ operation: "time", signal: new AbortController().signal })).answer;
      if (this.#over || this.state.device.kind !== "cpu") return;
      const trial = { adapter, cpu, webgpu };
      const { url, sha256 } = this.options;
      if (url) await remember(url, sha256, trial);
      this.state = { ...this.state, trial };
      if (webgpu < cpu) await this.#move(rival);
      for (const { changed } of this.users) changed({ reason: "compared", message: "" });
    } catch {
      // It goes on as it was.
    } finally {
      this.state = { ...this.state, untried: undefined };
      this.#rival?.leave(RIVAL);
      this.#rival = undefined;
    }
  }

  /** Takes over another's worker, when no operation runs. @param {Engine} rival */
  #move(rival) {
    return new Promise((resolve) => {
      this.#jobs.push(() => {
        const worker = rival.#worker;
        rival.#worker = undefined;
        if (worker && !this.#over) {
          this.#worker?.terminate();
          this.#heed(worker);
          this.state = { ...this.state, device: rival.state.device };
        }
        resolve(undefined);
      });
      this.#next();
    });
  }

  /** The worker is of no more use. @param {Fallback["reason"]} reason @param {string} message */
  #fail(reason, message) {
    const started = this.#started;
    this.#end("device", message);
    if (!started || !this.users.size) return;
    this.#forget(); // who asks for the GPU after this shall get a fresh try
    this.#reason = { reason, message };
    this.#begin("cpu");
  }

  async #next() {
    if (this.#busy) return;
    this.#busy = true;
    for (let job; (job = this.#jobs.shift()); ) {
      if (typeof job === "function") {
        job();
        continue;
      }
      try {
        job.resolve(await this.#run(job));
      } catch (/** @type {any} */ error) {
        if (error.code !== "device" || job.again || job.signal.aborted) job.reject(error);
        else this.#jobs.unshift({ ...job, again: true });
      }
    }
    this.#busy = false;
  }

  /** @param {Job} job */
  async #run({ operation, data, pictures, signal, told }) {
    /** @type {ImageBitmap[]} */
    const transfer = [];
    /** @type {Sent[]} */
    const parcels = [];
    /** @type {Worker | undefined} */
    let worker;
    const stop = () => worker === this.#worker && worker?.postMessage({ stop: true });
    try {
      for (const { number, once, content } of pictures ?? []) {
        const [message, moved] = await parcel(content);
        parcels.push({ number, once, ...message });
        transfer.push(...moved);
      }
      await this.ready();
      // From here to the message nothing can come between.
      if (signal.aborted) throw signal.reason;
      worker = this.#worker;
      signal.addEventListener("abort", stop);
      const sent = performance.now();
      return { answer: await this.#send(operation, { ...data, pictures: parcels }, transfer, told), sent };
    } catch (/** @type {any} */ error) {
      for (const strip of transfer) strip.close();
      if (error.code === "device" && worker && worker === this.#worker) this.#fail("device-failed", `The device failed: ${error.message}`);
      throw unusable(error);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }
}
