// Holds the model, and the pictures that it has seen. It is at one operation at a time, and engine.js sends the next after the
// answer. Only two messages come between: whether it is still there, and that what it does is not wanted any more.
import { copies, keep, kept, recall } from "./store.js";
import { MuseError } from "./error.js";

/**
 * @import { Device, DeviceChoice, Fallback, TagResult, Timings, Trial } from "./muse.js"
 * @import { Parcel } from "./picture.js"
 *
 * What the module says of a caption: the JSON of muse-core's `Tagged`, with the milliseconds of its steps.
 * @typedef {Omit<TagResult, "device" | "timings"> & { timings: Pick<Timings, "decode" | "picture" | "model"> }} Answer
 * @typedef {{ stopped: boolean, fail: (error: unknown) => void }} Operation
 * @typedef {Parcel & { number: number, once?: boolean }} Sent
 */

// Addresses, not imports: bundlers then copy these files as they are, and only the one that is needed is loaded.
const MODULES = {
  cpu: [new URL("./cpu/muse_web.js", import.meta.url), new URL("./cpu/muse_web_bg.wasm", import.meta.url)],
  webgpu: [new URL("./webgpu/muse_web.js", import.meta.url), new URL("./webgpu/muse_web_bg.wasm", import.meta.url)],
};

const HELD = 16; // pictures that are kept for later
const WINDOWS = { cpu: 8, webgpu: 64 }; // of a caption in one step: some 0.6 s on the CPU; a GPU wants to be filled

/** @type {any} */
let glue; // of wasm-bindgen, as `muse`, which it makes
/** @type {any} */
let muse;
/** @type {WebAssembly.Memory} */
let memory;
/** @type {GPUDevice | undefined} */
let gpu;
/** @type {Device["kind"]} */
let kind;
/** @type {Operation | undefined} */
let running;
/** @type {Map<number | null, any>} */
const held = new Map(); // pictures by the number that the page's side gives them, the one used last at the end

/** @type {import("./store.js").Report} */
const report = (phase, loaded, total) => postMessage({ progress: { phase, loaded, total } });

/** Lets messages in, and ends here what is not wanted any more. @param {Operation} operation */
async function turn(operation) {
  await new Promise((resolve) => setTimeout(resolve));
  if (operation.stopped) throw new MuseError("aborted", "it was aborted");
}

// wgpu asks for its device by itself. In this realm, which is ours, we listen in for its end.
function listen() {
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...rest) {
    gpu = await requestDevice.apply(this, rest);
    gpu.lost.then(({ message, reason }) => postMessage({ lost: message || String(reason) }));
    return gpu;
  };
}

/**
 * The device to use, and why it is not the one that was asked for. Of an adapter that nobody has tried yet `untried` is the name: to be
 * soon ready "auto" begins with the CPU.
 *
 * @param {DeviceChoice} asked
 * @param {string | undefined} url
 * @param {string | undefined} sha256
 * @returns {Promise<{ kind: Device["kind"], name?: string, fallback?: Fallback, trial?: Trial, untried?: string }>}
 */
async function choose(asked, url, sha256) {
  if (asked === "cpu") return { kind: asked };
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => {});
  let message;
  if (!navigator.gpu) message = "This browser does not offer WebGPU here.";
  else if (!adapter) message = "WebGPU finds no graphics adapter.";
  // Slower than our own code for the CPU.
  else if (asked === "auto" && (adapter.info ?? adapter).isFallbackAdapter) message = "WebGPU has only an adapter in software.";
  if (!adapter || message) return { kind: "cpu", fallback: { reason: navigator.gpu ? "no-adapter" : "no-webgpu", message: message ?? "" } };
  const { description, vendor, architecture } = adapter.info ?? {};
  const name = description || [vendor, architecture].join(" ").trim() || "WebGPU";
  const trial = await recall(url, sha256, name);
  if (asked === "auto") {
    if (!trial) return { kind: "cpu", untried: name };
    if ((trial.webgpu ?? Infinity) >= trial.cpu) return { kind: "cpu", trial };
  }
  listen();
  return { kind: "webgpu", name, trial };
}

/** @param {Device["kind"]} kind */
async function start(kind) {
  const [script, binary] = MODULES[kind];
  try {
    glue = await import(/* @vite-ignore */ /* webpackIgnore: true */ script.href);
    const module = await glue.default({ module_or_path: binary });
    module.__wasm_call_ctors(); // web/link.rs says why it is left to us
    memory = module.memory;
  } catch (/** @type {any} */ cause) {
    throw new MuseError(cause instanceof WebAssembly.CompileError ? "unsupported" : "network", `${binary}: ${cause.message}`, cause);
  }
}

function drain() {
  let last;
  for (const { level, target, message } of JSON.parse(glue?.takeLog() ?? "[]")) {
    if (level !== "info") /** @type {any} */ (console)[level](`${target}: ${message}`);
    last = message;
  }
  return last;
}

/** @param {ImageBitmap[]} strips @param {number} width @param {number} height */
function pixels(strips, width, height) {
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })
  );
  let y = 0;
  for (const strip of strips) {
    context.drawImage(strip, 0, y);
    y += strip.height;
    strip.close();
  }
  return [new Uint8Array(context.getImageData(0, 0, width, height).data.buffer), width, height];
}

/** @param {Parcel} picture */
async function decode({ blob, strips, width, height }) {
  try {
    if (strips) return glue.Picture.fromRgba(...pixels(strips, width, height));
    const bytes = new Uint8Array(await blob.arrayBuffer());
    return width === undefined ? glue.Picture.decode(bytes) : glue.Picture.fromRgba(bytes, width, height);
  } catch (error) {
    // Of the browser's own: the file is gone, or the pixels are another origin's.
    throw error instanceof DOMException ? new MuseError("image", error.message) : error;
  }
}

/**
 * What was used goes to the end of those that are kept; what comes but once goes, and so do the oldest.
 *
 * @param {(number | null)[]} numbers
 * @param {Map<number | null, Sent>} sent
 */
function settle(numbers, sent) {
  for (const number of new Set(numbers)) {
    const picture = held.get(number);
    if (!picture) continue;
    held.delete(number);
    if (sent.get(number)?.once) picture.free();
    else held.set(number, picture);
  }
  for (const number of [...held.keys()].slice(0, -HELD)) {
    held.get(number).free();
    held.delete(number);
  }
}

/** @type {Record<string, (data: any, operation: Operation) => unknown>} */
const operations = {
  async load({ url, blob, cache, sha256, device, warm }) {
    const choice = await choose(device, url, sha256);
    const { name, ...rest } = choice;
    kind = choice.kind;
    const started = start(kind);
    started.catch(() => {}); // it is awaited below, perhaps only after a long download
    let refusal;
    for await (const copy of blob ? [{ blob, from: "bytes" }] : copies(url, { cache, sha256 }, report)) {
      await started;
      report("compile", 0, 1);
      // The page holds it for a second start without a second download.
      postMessage({ blob: copy.blob, source: { from: copy.from, bytes: copy.blob.size } });
      const bytes = new Uint8Array(await copy.blob.arrayBuffer());
      try {
        muse = await glue.Muse.load(bytes, kind);
      } catch (/** @type {any} */ error) {
        if (error.code !== "model") throw error;
        refusal = error;
        continue;
      }
      if (cache && url && !(await kept(url, sha256))) await keep(url, copy.blob, sha256);
      break;
    }
    if (!muse) throw refusal;
    report("compile", 1, 1);
    const info = JSON.parse(muse.describe());
    // A GPU compiles its kernels at their first use; the CPU only gets warm.
    for (let done = 0; warm && done < 2; done++) {
      report("prepare", done, 1);
      if (!done) await muse.warm(16, true);
    }
    return { info, ...rest, device: { kind, name: name ?? JSON.parse(muse.device).name } };
  },

  /** Milliseconds for a caption and for one with a picture, after the first of each. */
  async time() {
    let sum = 0;
    for (const picture of [false, true]) {
      const took = [];
      for (let pass = 0; pass < 4; pass++) {
        const start = performance.now();
        await muse.warm(32, picture);
        if (pass) took.push(performance.now() - start);
      }
      sum += Math.min(...took);
    }
    return sum;
  },

  /**
   * `numbers` are those of the captions' pictures, or null. One that is neither here nor in `pictures` is named as missing.
   *
   * @param {{ captions: string[], numbers: (number | null)[], pictures: Sent[], exchange: boolean, style?: number }} message
   * @param {Operation} operation
   */
  async tag({ captions, numbers, pictures, exchange, style }, operation) {
    const sent = new Map(pictures.map((picture) => [/** @type {number | null} */ (picture.number), picture]));
    const missing = numbers.filter((number) => number !== null && !held.has(number) && !sent.has(number));
    /** @type {Record<number, number>} */
    const took = {};
    const job = muse.job(exchange, style);
    let answers;
    try {
      if (missing.length) return { missing };
      for (const [index, number] of numbers.entries()) {
        if (number === null) {
          job.add(captions[index]);
          continue;
        }
        if (!held.has(number)) {
          const start = performance.now();
          held.set(number, await decode(/** @type {Sent} */ (sent.get(number))));
          took[number] = performance.now() - start;
          await turn(operation);
        }
        job.addWithPicture(captions[index], held.get(number));
      }
      while (await job.look()) await turn(operation);
      while (await job.read(WINDOWS[kind])) {
        postMessage({ parts: [job.done, job.windows] });
        await turn(operation);
      }
      answers = /** @type {Answer[]} */ (JSON.parse(job.finish()));
    } finally {
      for (const { strips } of pictures) for (const strip of strips ?? []) strip.close();
      try {
        if (!answers) job.free();
        settle(numbers, sent);
      } catch {} // the module has trapped, and goes as a whole
    }
    for (const [index, { timings }] of answers.entries()) {
      timings.model += timings.decode;
      timings.decode = took[/** @type {number} */ (numbers[index])] ?? 0;
    }
    return { answers };
  },

  memory: () => ({ wasmBytes: memory.buffer.byteLength }),

  lose() {
    gpu?.destroy();
    return gpu?.lost.then(() => {});
  },
};

/** @param {any} error */
function explain(error) {
  const trap = error instanceof WebAssembly.RuntimeError;
  const code = typeof error?.code === "string" ? error.code : "device";
  let words;
  try {
    words = drain(); // a panic's own words are in the log, where the module can still give it
  } catch {}
  return { code, message: (trap && words) || String(error?.message ?? error) };
}

/** @param {number} id @param {string} name @param {object} data */
async function run(id, name, data) {
  const operation = (running = /** @type {Operation} */ ({ stopped: false }));
  // A panic within a promise of the module leaves that promise open for ever, and comes out at the end of this file.
  const trap = new Promise((_, reject) => (operation.fail = reject));
  let answer;
  try {
    answer = { value: await Promise.race([operations[name](data, operation), trap]) };
    drain();
  } catch (error) {
    answer = { error: explain(error) };
    // Where the device is lost the call fails first; the loss, told first, is the better reason.
    if (gpu && answer.error.code === "device") await Promise.race([gpu.lost, new Promise((resolve) => setTimeout(resolve, 200))]);
  }
  running = undefined;
  postMessage({ id, ...answer });
}

onmessage = ({ data: { id, operation, ping, stop, ...rest } }) => {
  if (ping) postMessage({});
  else if (!stop) run(id, operation, rest);
  else if (running) running.stopped = true;
};

onmessageerror = () => postMessage({ lost: "a message cannot be read" });

/** What nobody awaits any more. Outside of an operation it is the device that failed. @param {unknown} error */
function broken(error) {
  if (running) running.fail(error);
  else postMessage({ lost: explain(error).message });
}
onerror = (message, file, line, column, error) => {
  broken(error ?? message);
  return true;
};
onunhandledrejection = (event) => {
  event.preventDefault();
  broken(event.reason);
};
