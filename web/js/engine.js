// A worker with its model, shared by all who ask for the same: one operation after the other, and a new start where it fails.
import { MuseError } from "./error.js";
import { parcel } from "./picture.js";
import { spawn } from "./spawn.js";

const PING = 5000; // milliseconds
const DEAF = 24; // pings that are not heard, and the worker is given up
const engines = new Map();

/** Settles as the work does, or at once when the signal fires. */
export const abortable = (signal, work) =>
  new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });

// What a browser itself throws on the way: the bitmap was closed, or its pixels are another origin's.
const unusable = (cause) =>
  cause instanceof MuseError ? cause : new MuseError("image", `the picture cannot be used: ${cause.message}`, cause);

export class Engine {
  users = new Set(); // who is told of a change: { progress, changed }
  options;
  state;
  #key;
  #worker;
  #started;
  #ready;
  #over = false;
  #reason; // why it has to start again: { reason, message }
  #source;
  #call; // what the worker is at: { id, resolve, reject, told }
  #count = 0;
  #unheard = 0;
  #jobs = [];
  #busy = false;

  /** The engine for this, which may be there already. Whoever takes it leaves it again. */
  static take(key, options, user) {
    const engine = engines.get(key) ?? new Engine(key, options);
    engine.users.add(user);
    return engine;
  }

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

  async ready() {
    if (this.#over) throw new MuseError("disposed", "the model was disposed of");
    return this.#ready ?? this.#begin("cpu");
  }

  leave(user) {
    this.users.delete(user);
    if (this.users.size) return;
    this.#over = true;
    this.#forget();
    this.#end("disposed", "the model was disposed of");
  }

  /**
   * Puts an operation into the queue. `job`: { operation, data, pictures: [{ number, once, content }], signal, told }, where `told`
   * hears of the parts that are done. Gives the worker's answer, and when it was asked.
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

  #begin(device) {
    const ready = (this.#ready = this.#start(device));
    // A failure does not stay: the network may be back at the next call.
    ready.catch(() => {
      if (this.#ready === ready) this.#ready = undefined;
    });
    return ready;
  }

  #send(operation, data, transfer, told) {
    const worker = this.#worker;
    this.#unheard = 0;
    const watch = setInterval(() => {
      if (worker !== this.#worker) return;
      if (this.#unheard++ < DEAF) worker.postMessage({ ping: true });
      else this.#fail("device-failed", "The worker does not answer any more.");
    }, PING);
    return new Promise((resolve, reject) => {
      this.#call = { id: ++this.#count, resolve, reject, told };
      worker.postMessage({ id: this.#count, operation, ...data }, transfer);
    }).finally(() => clearInterval(watch));
  }

  #end(code, message) {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#call?.reject(new MuseError(code, message));
    this.#call = undefined;
  }

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
    const { resolve, reject } = this.#call;
    this.#call = undefined;
    if (error) reject(new MuseError(error.code, error.message));
    else resolve(value);
  }

  async #start(device) {
    this.#started = false;
    try {
      const worker = (this.#worker = spawn());
      worker.onmessage = ({ data }) => worker === this.#worker && this.#hear(data);
      worker.onmessageerror = () => worker === this.#worker && this.#fail("device-failed", "The worker’s answer cannot be read.");
      worker.onerror = (event) => {
        event.preventDefault();
        const why = event.message ? `: ${event.message}` : "; look at its address and at the Content-Security-Policy";
        if (worker !== this.#worker) return;
        if (this.#started) this.#fail("device-failed", `The worker failed${why}`);
        else this.#end("unsupported", `the worker does not start${why}`);
      };
      const state = await this.#send("load", { ...this.options, device });
      // What is started from memory later is not to come back into a cache that was cleared.
      this.options = { ...this.options, cache: false };
      this.#started = true;
      const again = this.state && this.#reason;
      this.state = { ...state, source: this.#source, fallback: this.#reason ?? state.fallback };
      this.#reason = undefined;
      if (again) for (const { changed } of this.users) changed(again);
    } catch (error) {
      this.#end(error.code, error.message);
      if (error.code !== "device" || device === "cpu" || !this.users.size) throw error;
      this.#reason ??= { reason: "device-failed", message: `WebGPU failed: ${error.message}` };
      return this.#start("cpu");
    }
  }

  /** The worker is of no more use. */
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
      try {
        job.resolve(await this.#run(job));
      } catch (error) {
        if (error.code !== "device" || job.again || job.signal.aborted) job.reject(error);
        else this.#jobs.unshift({ ...job, again: true });
      }
    }
    this.#busy = false;
  }

  async #run({ operation, data, pictures, signal, told }) {
    const transfer = [];
    const parcels = [];
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
    } catch (error) {
      for (const strip of transfer) strip.close();
      if (error.code === "device" && worker && worker === this.#worker) this.#fail("device-failed", `The device failed: ${error.message}`);
      throw unusable(error);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }
}
