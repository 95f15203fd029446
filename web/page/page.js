// The page: loads the model, and tags what is there whenever it changes. The model itself runs in a worker.
import { showExchange } from "./exchange.js";
import { listen } from "./inputs.js";
import { forgetPage, keepFiles, keepPage } from "./offline.js";
import { $, phrase, showNothing, showResult } from "./result.js";

const root = document.documentElement;
const address = (path) => new URL(path, document.baseURI).href;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const saves = navigator.connection?.saveData || matchMedia("(prefers-reduced-data: reduce)").matches;
const device = $("device-switch");
const notices = {}; // about the device and the page: these stay when other messages go

let Muse, muse, model, picture, running, timer, latest;

function state(name, key, value) {
  root.dataset.state = name;
  const text = phrase(key, value);
  if (text && $("status").textContent !== text) $("status").textContent = text;
  $("loading").hidden = !/loading|preparing/.test(name);
  $("save-data").hidden = name !== "asking";
  $("retry").hidden = name !== "failed";
  device.disabled = !muse;
}

const say = (key, value) => {
  $("message").textContent = [phrase(key, value), ...Object.values(notices)].filter(Boolean).join(" ");
};

function showDevice({ device: { kind, name }, reason }) {
  $("device").textContent = kind === "cpu" ? "the CPU" : `WebGPU: ${name}`;
  notices.device = phrase(reason);
  say();
  // The CPU's module too: where the graphics device fails one day, there may be no network.
  const modules = [...new Set([kind, saves ? kind : "cpu"])];
  const files = modules.flatMap((module) => ["muse_web.js", "muse_web_bg.wasm"].map((file) => `muse-web/${module}/${file}`));
  keepFiles(files).then((kept) => {
    if (kept) $("offline").textContent = phrase("kept");
  });
}

function onProgress({ phase, loaded, total }) {
  state(/compile|prepare/.test(phase) ? "preparing" : "loading", phase);
  const bar = $("progress");
  if (total) [bar.max, bar.value] = [total, loaded];
  else bar.removeAttribute("value");
  $("bytes").textContent = phase === "download" ? `${megabytes(loaded)} of ${megabytes(Math.max(total, model.bytes))}` : "";
}

async function load() {
  const [source, options] = [address(`models/${model.file}`), { sha256: model.sha256 }];
  if (saves && !(await Muse.cached(source, options))) {
    $("save-data-size").textContent = megabytes(model.bytes);
    state("asking", "ask");
    await new Promise((resolve) => ($("save-data-load").onclick = resolve));
  }
  muse = await Muse.load(source, { ...options, device: device.value, onProgress });
  muse.addEventListener("devicechange", ({ detail }) => showDevice(detail));
  $("clear-cache").hidden = false;
  state("ready", `ready-${muse.source.from}`, megabytes(muse.source.bytes));
  showDevice(muse);
  changed(0);
}

async function start() {
  state("loading", "start");
  try {
    Muse ??= (await import(address("muse-web/muse.js"))).Muse;
    const { ok, reason } = Muse.supported();
    if (!ok) return state("unsupported", "unsupported", reason);
    [model] = await (await fetch("models/models.json")).json();
    await load();
  } catch (error) {
    state("failed", "failed", error.message);
  }
}

async function tag() {
  const caption = $("caption").value;
  if (!muse || !(latest || caption || picture)) return;
  const { signal } = (running = new AbortController());
  const image = picture;
  try {
    latest = { caption };
    if (caption.trim() || image) {
      state("tagging");
      const answer = await muse.tag({ caption, image, signal });
      if (signal.aborted) return;
      Object.assign(latest, answer);
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
    if (error.code !== "image") return state("failed", "not-tagged", error.message);
    setPicture(null);
    say("not-read", error.message);
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

device.value = new URLSearchParams(location.search).get("device");
device.value ||= "auto";
device.onchange = async () => {
  running?.abort();
  say();
  state("preparing", "change");
  try {
    await muse.useDevice(device.value);
  } catch (error) {
    device.value = muse.device.kind;
    say("not-changed", error.message);
  }
  state("ready", "ready");
  changed(0);
};
$("retry").onclick = () => (muse ? changed(0) : start());
$("copy-json").onclick = () =>
  navigator.clipboard.writeText(JSON.stringify(latest, null, 2)).then(() => say("copied"), () => say("not-copied"));
$("clear-cache").onclick = async () => {
  await Promise.all([Muse.clearCache(), forgetPage()]);
  $("clear-cache").hidden = true;
  $("offline").textContent = "";
  state(root.dataset.state, "cleared");
};

start();
keepPage(() => {
  notices.page = phrase("renewed");
  say();
});
