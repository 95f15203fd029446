// The page: loads the model, and tags what is there whenever it changes. The model itself runs in a worker.
import { showExchange } from "./exchange.js";
import { listen } from "./inputs.js";
import { forgetPage, keepFiles, keepPage, renew } from "./offline.js";
import { $, phrase, put, showNothing, showResult } from "./result.js";

const ASKED = 50_000; // characters: a longer caption is tagged on request, since it takes minutes on many a machine
const TRADED = 10_000; // characters: of a longer one the exchange is not told
const LONG = 8; // parts: a caption of more shows how far it is

const root = document.documentElement;
const folder = root.dataset.package; // its name holds a hash, as that of the page's own scripts: no versions mix
const address = (path) => new URL(path, document.baseURI).href;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const saves = navigator.connection?.saveData || matchMedia("(prefers-reduced-data: reduce)").matches;
const device = $("device-switch");
const notices = {}; // about the device and the page: these stay when other messages go

let Muse, draw, muse, model, picture, running, timer;
let shown; // the caption and the answer that are on the page
let wanted; // the long caption that the user wants to have tagged
let resting = ["ready"]; // what the status says while nothing is the matter
let cleared = false;
let drawings = 0;

function state(name, key, value) {
  root.dataset.state = name;
  if (/^ready|cleared$/.test(key)) resting = [key, value];
  const words = key || !/ready|tagging/.test(name) ? [key, value] : resting;
  if (phrase(...words)) put("status", phrase(...words));
  $("loading").hidden = !/loading|preparing/.test(name);
  $("cancel").hidden = true;
  $("save-data").hidden = name !== "asking";
  $("retry").hidden = name !== "failed";
  device.disabled = !muse;
  keepFocus();
}

/** Who was on what has just gone is not sent back to the page's top. */
function keepFocus() {
  if (document.activeElement?.closest("[hidden]")) $("found-title").focus();
}

const say = (key, value) => put("message", [phrase(key, value), ...Object.values(notices)].filter(Boolean).join(" "));

/** Why the caption is not tagged unless that is asked for. */
function ask(key, value) {
  put("ask-text", phrase(key, value));
  $("ask").hidden = !key;
  keepFocus();
  if (key) untagged();
}

/** Of another caption nothing stays on the page. */
function untagged() {
  shown = undefined;
  showNothing("waiting");
  $("exchange").hidden = $("copy-json").disabled = true;
}

const source = () => [address(`models/${model.file}`), { sha256: model.sha256 }];

/** What is kept, as the caches themselves say. */
async function tellKept() {
  const kept = await Muse.cached(...source());
  if (/ready|tagging/.test(root.dataset.state) && muse.source.from === "network" && !cleared)
    state(root.dataset.state, kept ? "ready-network" : "ready-unkept", megabytes(muse.source.bytes));
  $("clear-cache").hidden = !kept;
  put("offline", "");
  if (cleared) return;
  // The CPU's module too: where the graphics device fails one day, there may be no network.
  const modules = [...new Set([muse.device.kind, saves ? muse.device.kind : "cpu"])];
  const files = modules.flatMap((module) => ["muse_web.js", "muse_web_bg.wasm"].map((file) => `${folder}/${module}/${file}`));
  const page = await keepFiles(files);
  if (!cleared && page) $("clear-cache").hidden = false;
  if (!cleared && page && (await Muse.cached(...source()))) put("offline", phrase("kept"));
}

const milliseconds = (time) => (time === undefined ? phrase("no-time") : `${time.toFixed(0)} ms`);

function showDevice({ device: { kind, name }, reason }) {
  $("device").textContent = kind === "cpu" ? "the CPU" : `WebGPU: ${name}`;
  const { trial } = muse;
  put("trial", trial && device.value === "auto" ? phrase("trial", milliseconds(trial.cpu)).replace("§", milliseconds(trial.webgpu)) : "");
  notices.device = phrase(reason);
  say();
  tellKept();
}

function advance(value, max, text) {
  const bar = $("progress");
  if (max) [bar.max, bar.value] = [max, value];
  else bar.removeAttribute("value");
  $("bytes").textContent = text;
}

function onProgress({ phase, loaded, total }) {
  // A start behind the scenes, in the place of a device that was lost, or for a wish that is no more.
  if (/ready|tagging|failed/.test(root.dataset.state)) return;
  state(/compile|prepare/.test(phase) ? "preparing" : "loading", phase);
  advance(loaded, total, phase === "download" ? `${megabytes(loaded)} of ${megabytes(Math.max(total, model.bytes))}` : "");
}

async function load() {
  const [url, options] = source();
  if (saves && !(await Muse.cached(url, options))) {
    $("save-data-size").textContent = megabytes(model.bytes);
    state("asking", "ask");
    await new Promise((resolve) => ($("save-data-load").onclick = resolve));
  }
  muse = await Muse.load(url, { ...options, device: device.value, onProgress });
  muse.addEventListener("devicechange", ({ detail }) => showDevice(detail));
  state("ready", muse.source.from === "cache" ? "ready-cache" : "ready", megabytes(muse.source.bytes));
  showDevice(muse);
  changed(0);
}

async function start() {
  state("loading", "start");
  try {
    const [module, { draw: drawer }] = await Promise.all([import(address(`${folder}/muse.js`)), import(address(`${folder}/draw.js`))]).catch(
      (cause) => Promise.reject(new Error(`${phrase("part-missing")} (${cause.message})`)),
    );
    [Muse, draw] = [module.Muse, drawer];
    const { ok, reason } = Muse.supported();
    if (!ok) return state("unsupported", "unsupported", reason);
    [model] = await (await fetch("models/models.json")).json();
    await load();
  } catch (error) {
    if (!(await renew())) state("failed", "failed", error.message);
  }
}

async function tag() {
  const caption = $("caption").value;
  // On a fresh page it says how to begin.
  if (!muse || (root.dataset.state === "ready" && !(+root.dataset.result || caption || picture))) return;
  const { signal } = (running = new AbortController());
  const image = picture;
  const long = caption.length > ASKED && caption !== wanted;
  ask(long && "long", caption.length.toLocaleString("en"));
  if (long) return finish(signal);
  try {
    if (!caption.trim() && !image) {
      shown = { caption };
      showNothing("empty");
      return finish(signal);
    }
    state("tagging");
    const began = performance.now();
    const told = ({ done, total }) => {
      if (signal.aborted || total <= LONG) return;
      const left = ((performance.now() - began) / done) * (total - done);
      $("loading").hidden = $("cancel").hidden = false;
      advance(done, total, phrase("parts", `${done} of ${total}`).replace("§", Math.ceil(left / 1000)));
    };
    const answer = await muse.tag({ caption, image, signal, exchange: caption.length <= TRADED, onProgress: told });
    if (signal.aborted) return;
    shown = { caption, ...answer };
    await show(signal);
    finish(signal);
  } catch (error) {
    if (signal.aborted) return;
    if (error.code !== "image") {
      untagged();
      return state("failed", "not-tagged", error.message);
    }
    setPicture(null);
    say("not-read", error.message);
  }
}

/** A later drawing ends an earlier one. */
function show(signal) {
  const own = ++drawings;
  const ended = { get aborted() { return signal.aborted || own !== drawings; } };
  return showResult(draw, shown.caption, shown, ended);
}

function finish(signal) {
  if (signal.aborted) return;
  showExchange(shown?.caption, shown ?? {}, $("image-preview"), muse.info);
  $("copy-json").disabled = !shown?.entities;
  root.dataset.result++;
  state("ready");
}

/** What runs is superseded at once; the new run waits until the typing pauses. */
function changed(delay = 250) {
  running?.abort();
  clearTimeout(timer);
  timer = setTimeout(tag, delay);
}

const setPicture = listen(
  (image, delay) => {
    if (image !== undefined) picture = image;
    say();
    changed(delay);
  },
  say,
);

const asked = new URLSearchParams(location.search).get("device");
if (asked) device.value = asked;
device.value ||= "auto"; // no such device
device.onchange = async () => {
  const wish = device.value;
  running?.abort();
  say();
  state("preparing", "change");
  const error = await muse.useDevice(wish).then(() => {}, (error) => error);
  if (wish !== device.value) return; // changed once more
  if (error) {
    device.value = muse.device.kind;
    say("not-changed", error.message);
  }
  state("ready", "ready");
  changed(0);
};
// A script that did not arrive is asked for again by a reload alone.
$("retry").onclick = () => (muse ? changed(0) : Muse ? start() : location.reload());
$("threshold").oninput = () => shown?.entities && show(running.signal);
$("cancel").onclick = () => {
  running?.abort();
  ask("stopped");
  finish((running = new AbortController()).signal);
  $("ask-tag").focus();
};
$("ask-tag").onclick = () => {
  wanted = $("caption").value;
  changed(0);
};
$("copy-json").onclick = async () => {
  try {
    await navigator.clipboard.writeText(JSON.stringify(shown, null, 2));
    say("copied");
  } catch {
    say("not-copied");
  }
};
$("clear-cache").onclick = async () => {
  cleared = true;
  await Promise.all([Muse.clearCache(), forgetPage()]);
  await tellKept();
  state(root.dataset.state, $("clear-cache").hidden ? "cleared" : "not-cleared");
};

start();
keepPage(() => {
  notices.page = phrase("renewed");
  say();
});
