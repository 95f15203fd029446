// A worker with its model, shared by all who ask for the same: one call after the other, and a new start where it fails.
import { MuseError } from "./error.js";
import { capture, parcel } from "./picture.js";

const HELD = 16; // pictures that the worker keeps
const engines = new Map();

function spawn() {
  if (new URL(import.meta.url).origin === self.origin)
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  // A worker must be of the page's own origin; what it imports need not be.
  const address = JSON.stringify(import.meta.url.replace(/[^/]*$/, "worker.js"));
  const script = URL.createObjectURL(new Blob([`import ${address}`], { type: "text/javascript" }));
  return Object.assign(new Worker(script, { type: "module" }), { script });
}

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
  #key;
  #worker;
  #calls = new Map();
  #count = 0;
  #held = new Map(); // numbers of the pictures that the worker has, the one used last at the end
  #drop = [];
  #jobs = [];
  #busy = false;
  #ready;
  #source;

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
    this.#ready = this.#start(options.device);
    this.#ready.catch(() => this.#forget());
  }

  /** Whether a later wish for the same is to get this engine too. */
  get current() {
    return engines.get(this.#key) === this;
  }

  ready() {
    return (this.#ready ??= this.#start("cpu"));
  }

  leave(user) {
    this.users.delete(user);
    if (this.users.size) return;
    this.#forget();
    this.#end("disposed", "the model was disposed of");
  }

  /** `job`: { captions, images: [{ id, once, image, content }], exchange, signal }. Gives the answers, and when it was sent. */
  tag(job) {
    return abortable(
      job.signal,
      new Promise((resolve, reject) => {
        this.#jobs.push({ ...job, resolve, reject });
        this.#next();
      }),
    );
  }

  holds = (id) => this.#held.has(id);

  async call(operation) {
    await this.ready();
    return this.#send(operation);
  }

  #forget() {
    if (this.current) engines.delete(this.#key);
  }

  #send(operation, data, transfer) {
    return new Promise((resolve, reject) => {
      this.#calls.set(++this.#count, { resolve, reject });
      this.#worker.postMessage({ id: this.#count, operation, ...data }, transfer);
    });
  }

  #end(code, message) {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#held.clear();
    this.#drop = [];
    for (const { reject } of this.#calls.values()) reject(new MuseError(code, message));
    this.#calls.clear();
  }

  async #start(device, fallback) {
    const worker = (this.#worker = spawn());
    let started = false;
    worker.onmessage = ({ data: { id, value, error, progress, lost, blob, source } }) => {
      if (worker !== this.#worker) return;
      if (worker.script) URL.revokeObjectURL(worker.script);
      if (progress) for (const { progress: tell } of this.users) tell(progress);
      if (blob) {
        this.options = { ...this.options, blob };
        if (!this.#source || source.from !== "bytes") this.#source = source;
      }
      if (lost !== undefined) {
        const message = `The graphics device was lost: ${lost}`;
        if (started) this.#restart("device-lost", message);
        else this.#end("device", message);
      }
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error) call?.reject(new MuseError(error.code, error.message));
      else if (id) call?.resolve(value);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      const why = event.message ? `: ${event.message}` : "; look at its address and at the Content-Security-Policy";
      if (worker === this.#worker) this.#end("unsupported", `the worker does not start${why}`);
    };
    try {
      const state = await this.#send("load", { ...this.options, device });
      started = true;
      this.state = { ...state, source: this.#source, fallback: fallback ?? state.fallback };
      return this.state;
    } catch (error) {
      this.#end(error.code, error.message);
      if (error.code !== "device" || device === "cpu" || !this.users.size) throw error;
      return this.#start("cpu", { reason: "device-failed", message: `WebGPU failed: ${error.message}` });
    }
  }

  /** Goes on with the CPU, without the broken worker. */
  #restart(reason, message) {
    this.#end("device", message);
    this.#forget(); // who asks for the GPU after this shall get a fresh try
    this.#ready = this.#start("cpu", { reason, message });
    this.#ready.then(
      () => {
        for (const { changed } of this.users) changed(this.state.fallback);
      },
      () => (this.#ready = undefined),
    );
  }

  async #next() {
    if (this.#busy) return;
    this.#busy = true;
    for (let job; (job = this.#jobs.shift()); ) {
      try {
        await this.#run(job).then(job.resolve);
      } catch (error) {
        if (error.code !== "device" || job.again || job.signal.aborted) job.reject(error);
        else this.#jobs.unshift({ ...job, again: true });
      }
    }
    this.#busy = false;
  }

  async #run({ captions, images, exchange, signal }) {
    await this.ready();
    if (signal.aborted) throw signal.reason;
    const worker = this.#worker;
    const pictures = [];
    const transfer = [];
    try {
      for (const picture of images) {
        if (!picture || this.#held.has(picture.id) || pictures.some(({ number }) => number === picture.id)) continue;
        const [message, moved] = await parcel((picture.content ??= await capture(picture.image, signal)));
        pictures.push({ number: picture.id, ...message });
        transfer.push(...moved);
      }
    } catch (cause) {
      throw unusable(cause);
    }
    const numbers = images.map((picture) => picture?.id ?? -1);
    const sent = performance.now();
    const data = { captions, numbers, pictures, drop: this.#drop.splice(0), exchange };
    try {
      const answers = await this.#send("tag", data, transfer);
      for (const picture of images) {
        if (!picture) continue;
        this.#held.delete(picture.id);
        if (picture.once) this.#drop.push(picture.id);
        else this.#held.set(picture.id);
      }
      const old = [...this.#held.keys()].slice(0, -HELD);
      for (const id of old) this.#held.delete(id);
      this.#drop.push(...old);
      return { answers, sent };
    } catch (error) {
      this.#drop.push(...pictures.map(({ number }) => number));
      if (error.code === "device" && worker === this.#worker) this.#restart("device-failed", `The device failed: ${error.message}`);
      throw unusable(error);
    }
  }
}
