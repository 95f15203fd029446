// Measures muse-web beside onnxruntime-web in the same headless Chromium, and prints a table. See README.md.
import { createReadStream } from "node:fs";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { cpus, tmpdir } from "node:os";
import { extname, join, normalize, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "../..");
const { values: options } = parseArgs({
  options: {
    npm: { type: "string" },
    onnx: { type: "string" },
    int8: { type: "string" },
    photo: { type: "string" },
    muse: { type: "string", default: join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "site/muse-web") },
    model: { type: "string", default: join(root, "models/muse-small.muse") },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    rounds: { type: "string", default: "3" },
    runs: { type: "string", default: "20" },
    "gpu-runs": { type: "string", default: "3" },
    photos: { type: "string", default: "5" },
    "gpu-photos": { type: "string", default: "2" },
  },
});
if (!options.npm || !options.onnx) throw new Error("--npm FOLDER and --onnx FILE are needed; see README.md");
const modules = join(resolve(options.npm), "node_modules");
const puppeteer = await load("puppeteer-core");

async function load(name) {
  const path = createRequire(join(modules, "..", "x.js")).resolve(name);
  return (await import(pathToFileURL(path))).default;
}

// What the server gives out: whole files, and folders by their prefix.
const files = { "/worker.js": join(here, "worker.js"), "/minilm.onnx": options.onnx, "/model.muse": options.model };
if (options.int8) files["/int8.onnx"] = options.int8;
if (options.photo) files["/lite0.onnx"] = options.photo;
const folders = {
  "/ort/": join(modules, "onnxruntime-web/dist"),
  "/muse/": options.muse,
  "/package/": options.muse,
};
const types = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

function place(path) {
  if (Object.hasOwn(files, path)) return resolve(files[path]);
  const prefix = Object.keys(folders).find((start) => path.startsWith(start));
  if (!prefix) return;
  const folder = resolve(folders[prefix]);
  const file = normalize(join(folder, path.slice(prefix.length)));
  return file.startsWith(folder + sep) ? file : undefined;
}

const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://localhost").pathname;
  if (path === "/") return response.setHeader("content-type", "text/html").end("<!doctype html><title>peers</title>");
  const file = place(path);
  const found = file && (await stat(file).catch(() => {}));
  if (!found) return response.writeHead(404).end();
  response.writeHead(200, {
    "content-type": types[extname(file)] ?? "application/octet-stream",
    "content-length": found.size,
    // The package is what a second visit may find in the browser's cache.
    "cache-control": path.startsWith("/package/") ? "max-age=3600" : "no-store",
  });
  createReadStream(file).pipe(response);
});

const median = (numbers) => {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** In the page: starts the subjects one after the other, then runs them by turns. */
async function measure({ subjects, device, lengths, runs, first, photos }) {
  const ask = (worker, message) =>
    new Promise((done, fail) => {
      worker.onmessage = ({ data }) => (data.failed ? fail(new Error(data.failed)) : done(data));
      worker.onerror = (event) => fail(new Error(event.message));
      worker.postMessage({ device, ...message });
    });
  const results = {};
  const workers = {};
  for (const subject of subjects) {
    const from = performance.now();
    workers[subject] = new Worker("/worker.js", { type: "module" });
    const { loaded } = await ask(workers[subject], { subject, pieces: first });
    results[subject] = { start: performance.now() - from, loaded, took: {}, first: {}, again: {} };
  }
  const encoders = subjects.filter((subject) => subject !== "cnn");
  for (const pieces of lengths) {
    // The first pass of a length prepares it: shaders, buffers.
    for (const subject of encoders) await ask(workers[subject], { subject, pieces });
    for (let run = 0; run < runs; run++)
      // Who goes first takes turns, too.
      for (const subject of run % 2 ? encoders : [...encoders].reverse()) {
        const { took, memory } = await ask(workers[subject], { subject, pieces });
        (results[subject].took[pieces] ??= []).push(took);
        results[subject].memory = memory;
      }
  }
  // The first pass compiles the image encoder.
  await ask(workers.muse, { subject: "muse", pieces: first, photo: "first" });
  for (const pieces of lengths)
    for (let run = 0; run < photos; run++) {
      if (workers.cnn) {
        const { took } = await ask(workers.cnn, { subject: "cnn" });
        (results.cnn.took.photo ??= []).push(took);
      }
      for (const photo of ["first", "again"]) {
        const { took, memory } = await ask(workers.muse, { subject: "muse", pieces, photo });
        (results.muse[photo][pieces] ??= []).push(took);
        results.muse.pictured = memory;
      }
    }
  return results;
}

/** In the page: what a visitor waits for, from the package's first line to the first answer. */
async function visit({ device }) {
  const from = performance.now();
  const { Muse } = await import("/package/muse.js");
  const muse = await Muse.load("/model.muse", { device });
  const { device: got } = await muse.tag({ caption: Array(30).fill("a").join(" ") });
  if (got.kind !== device) throw new Error(`it runs on ${JSON.stringify(got)}`);
  return performance.now() - from;
}

/** A browser with a fresh profile, so that no compiled module is left from the round before. */
async function round(address, plan) {
  const profile = await mkdtemp(join(tmpdir(), "peers-"));
  const browser = await puppeteer.launch({
    executablePath: options.chromium,
    userDataDir: profile,
    headless: true,
    protocolTimeout: 0,
    args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
  });
  try {
    const page = await browser.newPage();
    await page.goto(address);
    const results = await page.evaluate(measure, plan);
    results.muse.visits = [];
    for (let i = 0; i < 2; i++) {
      await page.goto(address);
      results.muse.visits.push(await page.evaluate(visit, plan));
    }
    return { results, version: await browser.version() };
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

await new Promise((done) => server.listen(0, "localhost", done));
const address = `http://localhost:${server.address().port}/`;
const both = ["ort", "muse"];
const all = [...both, ...(options.int8 ? ["int8"] : []), ...(options.photo ? ["cnn"] : [])];
const plans = [
  { device: "cpu", subjects: all, rounds: Number(options.rounds), runs: Number(options.runs), photos: Number(options.photos) },
  { device: "webgpu", subjects: both, rounds: 1, runs: Number(options["gpu-runs"]), photos: Number(options["gpu-photos"]) },
];
const { version: peer } = JSON.parse(await readFile(join(modules, "onnxruntime-web/package.json")));
const names = { ort: `onnxruntime-web ${peer}`, int8: "its int8", muse: "muse-web" };
const lengths = [16, 32, 64];
const lines = [];
const own = [];
const cnn = [];
let browser;
try {
  for (const { device, subjects, rounds, runs, photos } of plans) {
    const measured = [];
    for (let i = 0; i < rounds; i++) {
      // Who loads first takes turns: the browser itself still warms up meanwhile.
      const turn = i % 2 ? subjects.toReversed() : subjects;
      const { results, version } = await round(address, { subjects: turn, device, lengths, runs, photos, first: 32 });
      browser = version;
      measured.push(results);
    }
    const warm = (subject, read) => median(measured.flatMap((results) => read(results[subject])));
    if (subjects.includes("cnn")) {
      const theirs = warm("cnn", (row) => row.took.photo);
      const ours = warm("muse", (row) => row.first[32]) - warm("muse", (row) => row.again[32]);
      cnn.push([device, theirs.toFixed(1), ours.toFixed(1), (ours / theirs).toFixed(2)]);
    }
    for (const subject of subjects.filter((subject) => subject !== "cnn")) {
      const rows = measured.map((results) => results[subject]);
      const passes = (key) => lengths.map((n) => median(rows.flatMap((row) => row[key][n])).toFixed(1));
      const mega = (key, unit) => (median(rows.map((row) => row[key])) / unit).toFixed(0);
      lines.push([names[subject], device, ...passes("took"), mega("start", 1), mega("memory", 2 ** 20), mega("loaded", 1e6)]);
      if (subject !== "muse") continue;
      const visits = [0, 1].map((i) => median(rows.map((row) => row.visits[i])).toFixed(0));
      own.push([device, ...passes("first"), ...passes("again"), mega("pictured", 2 ** 20), ...visits]);
    }
  }
} finally {
  server.close();
}
const print = (head, rows) => {
  for (const row of [head, head.map(() => "---"), ...rows]) console.log(`| ${row.join(" | ")} |`);
};
console.log(`${browser}, ${cpus().length} × ${cpus()[0].model}, ${new Date().toISOString().slice(0, 10)}\n`);
print(["", "device", "16 pieces, ms", "32, ms", "64, ms", "load to first result, ms", "wasm memory, MiB", "loaded, MB"], lines);
console.log("\nmuse-web with a photo:\n");
const seen = ["first seen", "again"].flatMap((when) => lengths.map((n) => `${when}, ${n} pieces, ms`));
if (cnn.length) {
  print(["a photo's CNN", "onnxruntime-web, ms", "muse-web, ms, with its shrinking", "ratio"], cnn);
  console.log();
}
print(["device", ...seen, "wasm memory, MiB", "first visit, ms", "second visit, ms"], own);
