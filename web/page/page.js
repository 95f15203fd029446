// The page: loads the model, and tags what is there whenever it changes. The model itself runs in a worker.
import { showExchange } from "./exchange.js";
import { listen } from "./inputs.js";
import { forgetPage, keepFiles, keepPage } from "./offline.js";
import { $, showNothing, showResult } from "./result.js";

const root = document.documentElement;
const address = (path) => new URL(path, document.baseURI).href;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const saves = navigator.connection?.saveData || matchMedia("(prefers-reduced-data: reduce)").matches;

let Muse, muse, model, picture, running, timer, latest;

function state(name, text) {
  root.dataset.state = name;
  if (text && $("status").textContent !== text) $("status").textContent = text;
  $("loading").hidden = name !== "loading" && name !== "preparing";
  $("save-data").hidden = name !== "asking";
  $("retry").hidden = name !== "failed";
  $("device-switch").disabled = !muse;
}

const notices = {}; // about the device and the page: these stay when other messages go
const say = (text) => ($("message").textContent = [text, ...Object.values(notices)].filter(Boolean).join(" "));

const REASONS = {
  "no-webgpu": "This browser offers no WebGPU here.",
  "no-adapter": "No graphics adapter is to be had.",
  "device-lost": "The graphics device was lost.",
  "device-failed": "The device failed.",
};

function showDevice({ device: { kind, name }, reason }) {
  $("device").textContent = kind === "cpu" ? "the CPU" : `WebGPU: ${name}`;
  notices.device = reason in REASONS ? `${REASONS[reason]} The model runs on the CPU; what you entered is kept.` : "";
  say();
  // The CPU's module too: where the graphics device fails one day, there may be no network.
  const modules = new Set([kind, saves ? kind : "cpu"]);
  const files = [...modules].flatMap((module) => ["muse_web.js", "muse_web_bg.wasm"].map((file) => `muse-web/${module}/${file}`));
  keepFiles(files).then((kept) => kept && ($("offline").textContent = "Both are kept now: the page works without network too."), () => {});
}

const PHASES = {
  download: ["loading", "Downloading the model, this once"],
  cache: ["loading", "Loading the model from this browser’s cache"],
  verify: ["loading", "Checking the model"],
  compile: ["preparing", "Preparing: compiling"],
  prepare: ["preparing", "Preparing: first passes"],
};

function onProgress({ phase, loaded, total }) {
  state(...PHASES[phase]);
  const bar = $("progress");
  if (total) [bar.max, bar.value] = [total, loaded];
  else bar.removeAttribute("value");
  $("bytes").textContent = phase === "download" ? `${megabytes(loaded)} of ${megabytes(Math.max(total, model.bytes))}` : "";
}

async function load() {
  state("loading", "Starting");
  const [source, options] = [address(`models/${model.file}`), { sha256: model.sha256 }];
  if (saves && !(await Muse.cached(source, options))) {
    $("save-data-size").textContent = megabytes(model.bytes);
    state("asking", "Waiting for your word");
    await new Promise((resolve) => ($("save-data-load").onclick = resolve));
  }
  muse = await Muse.load(source, { ...options, device: $("device-switch").value, onProgress });
  muse.addEventListener("devicechange", ({ detail }) => showDevice(detail));
  const { from, bytes } = muse.source;
  $("clear-cache").hidden = false;
  state("ready", from === "cache" ? `Ready. Model from this browser’s cache, ${megabytes(bytes)}` : `Ready. Model downloaded, ${megabytes(bytes)}; the next visit takes it from this browser’s cache`);
  showDevice({ device: muse.device });
  changed(0);
}

async function start() {
  try {
    if (!Muse) ({ Muse } = await import(address("muse-web/muse.js")));
    const { ok, reason } = Muse.supported();
    if (!ok) return state("unsupported", `This browser cannot run the page. ${reason}`);
    [model] = await (await fetch("models/models.json")).json();
    await load();
  } catch (error) {
    console.error(error);
    state("failed", `The model could not be loaded: ${error.message}`);
  }
}

async function tag() {
  const caption = $("caption").value;
  if (!muse || (!latest && !caption && !picture)) return;
  const { signal } = (running = new AbortController());
  const image = picture;
  try {
    latest = { caption };
    if (caption.trim() || image) {
      state("tagging");
      const answer = await muse.tag({ caption, image, signal });
      if (signal.aborted) return;
      latest = { caption, ...answer };
      showResult(caption, answer);
      await new Promise((resolve) => setTimeout(resolve)); // two short tasks rather than a long one
      if (signal.aborted) return;
    } else showNothing();
    showExchange(caption, latest, $("image-preview"), muse.info);
    $("copy-json").disabled = !latest.entities;
    root.dataset.result++;
    state("ready");
  } catch (error) {
    if (signal.aborted) return;
    if (error.code === "image") {
      setPicture(null);
      say(`That picture cannot be read, so the caption stands alone. JPEG, PNG, WebP and GIF can. (${error.message})`);
    } else state("failed", `Tagging failed: ${error.message}`);
  }
}

/** What runs is superseded at once; the new run waits until the typing pauses. */
function changed(delay = 250) {
  running?.abort();
  clearTimeout(timer);
  timer = setTimeout(tag, delay);
}

const setPicture = listen((image, delay) => {
  if (image !== undefined) picture = image;
  say();
  changed(delay);
});

$("device-switch").value = new URLSearchParams(location.search).get("device");
if (!$("device-switch").value) $("device-switch").value = "auto";
$("device-switch").onchange = async ({ target }) => {
  running?.abort();
  say();
  state("preparing", "Changing the device");
  try {
    await muse.useDevice(target.value);
  } catch (error) {
    target.value = muse.device.kind;
    say(`The device stays as it was: ${error.message}`);
  }
  state("ready", "Ready");
  changed(0);
};
$("retry").onclick = () => (muse ? changed(0) : start());
$("copy-json").onclick = async () => {
  try {
    await navigator.clipboard.writeText(JSON.stringify(latest, null, 2));
    say("Copied.");
  } catch {
    say("This browser does not allow copying here.");
  }
};
$("clear-cache").onclick = async ({ target }) => {
  await Promise.all([Muse.clearCache(), forgetPage()]);
  target.hidden = true;
  $("offline").textContent = "";
  state(root.dataset.state, "Ready. The cache is empty; the next visit downloads page and model again");
};

start();
keepPage(() => {
  notices.page = "A new version of this page is here: reload to use it.";
  say();
}).catch(() => {});
