/// <reference path="./globals.ts" preserve="true" />
// <muse-tagger>: a caption, a picture and what is named in them, as a tag.
import { draw } from "./draw.js";
import { Muse, MuseError } from "./muse.js";

/**
 * @import { Device, DeviceChange, DeviceChoice, Entity, ModelInfo, Picture, Progress, TagResult } from "./muse.js"
 *
 * @typedef {object} MuseTaggerEventMap
 * @property {CustomEvent<{ device: Device, info: ModelInfo, source: Muse["source"] }>} muse-ready
 * @property {CustomEvent<Progress>} muse-progress
 * @property {CustomEvent<TagResult>} muse-result
 * @property {CustomEvent<MuseError>} muse-error
 * @property {CustomEvent<DeviceChange>} muse-devicechange
 */

// Slots instead of wired words: a page in another language puts its own. Made piece by piece: a page with Trusted Types takes no
// HTML from us.
const slot = (/** @type {string} */ name, /** @type {string} */ words) => make("slot", { name }, words);
const tree = () => [
  make("label", {}, slot("caption-label", "Caption"), make("textarea", { part: "caption", rows: 3, dir: "auto" })),
  make("label", {}, slot("picture-label", "Picture"), make("input", { part: "file", type: "file", accept: "image/*" })),
  make("canvas", { part: "preview", role: "img", hidden: "" }),
  make("button", { part: "remove", type: "button", hidden: "" }, slot("remove-label", "Remove the picture")),
  make("progress", { part: "progress", "aria-label": "Progress", hidden: "" }),
  make("div", { part: "result" }),
  ...["sentiment", "notice", "message"].map((part) => make("p", { part })),
  make("p", { part: "live", role: "status" }),
];

/** @param {string} tag @param {Record<string, any>} attributes @param {(Node | string)[]} children */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A constructed sheet: a page's Content-Security-Policy needs no exception for it.
// Translucent colours suit a light and a dark page alike, whichever the page has chosen.
const CSS = `
:host{display:block}
:host([hidden]),[hidden]{display:none!important}
label,textarea,progress,canvas{display:block}
textarea,progress{box-sizing:border-box;width:100%}
textarea,input,button{max-width:100%;font:inherit}
label,p,[part=result]{margin:.5em 0;overflow-wrap:anywhere}
p:empty,[part=result]:empty{display:none}
canvas{max-width:100%;max-height:16em;margin:.5em 0}
[part=result]{white-space:pre-wrap;line-height:1.9}
mark{unicode-bidi:isolate;padding:.1em .3em;border-radius:.3em;background:#a5c6;color:inherit}
mark[data-type=PER]{background:#f906}
mark[data-type=LOC]{background:#0a56}
mark[data-type=ORG]{background:#38f6}
.slice+.slice{content-visibility:auto;contain-intrinsic-height:auto 20em}
small{margin-inline-start:.4em;font-weight:600}
[part=live]{position:absolute;width:1px;height:1px;margin:0;overflow:hidden;clip-path:inset(50%);white-space:nowrap}`;

const LONG = 8; // parts; a caption of more shows how far it is
const sheets = new WeakMap(); // by document, since one of another's is not taken
const percent = (/** @type {number} */ score) => `${Math.round(100 * score)} %`;

/** A screen reader would read the same words once more. @param {Element} element @param {string} text */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What an entity holds is only ever text, and turns nothing around it. @param {Entity} entity */
const marked = ({ type, text, score }) =>
  make("mark", { part: `entity entity-${type.toLowerCase()}`, "data-type": type },
    make("bdi", {}, text), make("small", { part: "type" }, `${type} ${percent(score)}`));

/** `<muse-tagger src="model.muse" device="auto" caption="…" sha256="…" name="…">`. In a form, its value is the caption. */
// Where there are no elements, as on a server that renders pages, it can at least be imported.
export class MuseTagger extends (/** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {})) {
  /** @internal */
  static formAssociated = true;
  /** @internal */
  static observedAttributes = ["src", "sha256", "device", "caption"];

  #internals = this.attachInternals?.();
  /** @type {Record<string, any>} */
  #parts = {};
  /** @type {Record<string, unknown>} */
  #early = {}; // what was set before this module was loaded: it counts for more than the attributes
  /** @type {Picture | null} */
  #image = null;
  /** @type {Muse | undefined} */
  #muse;
  /** @type {AbortController | undefined} */
  #loading;
  /** @type {AbortController | undefined} */
  #tagging;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * The last result; `null` while there is nothing to tag.
   *
   * @readonly
   * @type {TagResult | null}
   */
  result = null;

  constructor() {
    super();
    this.attachShadow({ mode: "open", delegatesFocus: true }).append(...tree());
    this.adoptedCallback();
    for (const element of /** @type {ShadowRoot} */ (this.shadowRoot).querySelectorAll("[part]"))
      this.#parts[/** @type {string} */ (element.getAttribute("part"))] = element;
    for (const name of /** @type {const} */ (["caption", "image"])) {
      if (!Object.hasOwn(this, name)) continue;
      this.#early[name] = this[name];
      delete (/** @type {Partial<MuseTagger>} */ (this)[name]);
    }
    const { caption, file, remove } = this.#parts;
    caption.oninput = () => this.#changed(250);
    file.onchange = () => (this.image = file.files[0] ?? null);
    remove.onclick = () => {
      file.value = "";
      this.image = null;
      file.focus();
    };
  }

  /** In each document, the first one too, it wears that document's sheet. @internal */
  adoptedCallback() {
    const { ownerDocument, shadowRoot } = /** @type {{ ownerDocument: Document, shadowRoot: ShadowRoot }} */ (this);
    const { CSSStyleSheet } = /** @type {Partial<typeof globalThis>} */ (ownerDocument.defaultView ?? {});
    if (!CSSStyleSheet) return;
    if (!sheets.has(ownerDocument)) {
      sheets.set(ownerDocument, new CSSStyleSheet());
      sheets.get(ownerDocument).replaceSync(CSS);
    }
    shadowRoot.adoptedStyleSheets = [sheets.get(ownerDocument)];
  }

  /** @internal */
  connectedCallback() {
    const early = this.#early;
    this.#early = {};
    Object.assign(this, early);
    this.#load();
  }

  /** @internal */
  disconnectedCallback() {
    // Moved in the document, it comes back at once.
    queueMicrotask(() => this.isConnected || this.#leave());
  }

  /** @internal @param {string} name @param {string | null} old @param {string | null} value */
  attributeChangedCallback(name, old, value) {
    if (old === value) return;
    if (name === "caption") {
      if (!("caption" in this.#early)) this.caption = value ?? "";
    } else if (name === "device" && this.#muse)
      this.#muse.useDevice(/** @type {DeviceChoice} */ (value || "auto")).catch((error) => this.#failed(error));
    else if (this.isConnected) {
      this.#leave();
      queueMicrotask(() => this.isConnected && this.#load()); // once, where several are set
    }
  }

  /** @internal */
  formResetCallback() {
    this.caption = this.getAttribute("caption") ?? "";
    this.#parts.file.value = "";
    this.image = null;
  }

  /** @internal @param {boolean} disabled */
  formDisabledCallback(disabled) {
    const { caption, file, remove } = this.#parts;
    caption.disabled = file.disabled = remove.disabled = disabled;
  }

  /** The model, once it is loaded. */
  get muse() {
    return this.#muse;
  }

  /** The caption, as it is in the text field. @returns {string} */
  get caption() {
    return this.#parts.caption.value;
  }

  set caption(text) {
    this.#parts.caption.value = text;
    this.#changed();
  }

  /** The picture that goes with it. */
  get image() {
    return this.#image;
  }

  set image(image) {
    this.#image = image ?? null;
    this.#parts.remove.hidden = !image;
    this.#preview(image);
    this.#changed();
  }

  /** @param {string} name @param {unknown} detail */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`muse-${name}`, { detail, bubbles: true, composed: true }));
  }

  /** A bar for what takes long; without a number it goes. @param {number} [value] @param {number} [max] */
  #advance(value, max) {
    const { progress } = this.#parts;
    progress.hidden = value === undefined;
    if (!progress.hidden) Object.assign(progress, { max: max || 1, value });
  }

  /** @param {any} error */
  #failed(error) {
    if (error.code === "aborted" || error.code === "disposed") return;
    put(this.#parts.message, error.message);
    put(this.#parts.live, error.message);
    this.#tell("error", error);
  }

  /** @param {any} image */
  async #preview(image) {
    const { preview } = this.#parts;
    preview.hidden = true;
    if (!image) return;
    try {
      const url = typeof image === "string" || image instanceof URL;
      const bitmap = await createImageBitmap(url ? await (await fetch(image)).blob() : image);
      if (image !== this.#image) return;
      const scale = Math.min(1, 512 / Math.max(bitmap.width, bitmap.height));
      preview.width = Math.max(1, bitmap.width * scale);
      preview.height = Math.max(1, bitmap.height * scale);
      preview.getContext("2d").drawImage(bitmap, 0, 0, preview.width, preview.height);
      if (bitmap !== image) bitmap.close();
      preview.setAttribute("aria-label", image.name || image.alt || "Picture");
      preview.hidden = false;
    } catch {
      // The browser cannot show it. Whether it can be read, the model says.
    }
  }

  async #load() {
    const src = this.getAttribute("src");
    if (!src || this.#loading) return;
    const { notice, message } = this.#parts;
    const control = (this.#loading = new AbortController());
    notice.textContent = message.textContent = "";
    try {
      const muse = await Muse.load(src, {
        device: /** @type {DeviceChoice} */ (this.getAttribute("device") || "auto"),
        sha256: this.getAttribute("sha256") || undefined,
        signal: control.signal,
        onProgress: (detail) => {
          // Later ones are of another device, while this one goes on.
          if (!control.signal.aborted && !this.#muse) this.#advance(detail.loaded, detail.total);
          this.#tell("progress", detail);
        },
      });
      if (control.signal.aborted) return muse.dispose();
      this.#muse = muse;
      muse.addEventListener("devicechange", ({ detail }) => {
        notice.textContent = detail.message;
        this.#tell("devicechange", detail);
      });
      this.#tell("ready", { device: muse.device, info: muse.info, source: muse.source });
      this.#changed();
    } catch (error) {
      this.#failed(error);
    } finally {
      if (control === this.#loading) this.#advance();
    }
  }

  #leave() {
    this.#loading?.abort();
    this.#tagging?.abort();
    this.#muse?.dispose();
    this.#loading = this.#muse = undefined;
    this.#advance();
    // What another model said is not this one's.
    /** @type {{ result: TagResult | null }} */ (this).result = null;
    for (const part of ["result", "sentiment", "notice", "message", "live"]) this.#parts[part].replaceChildren();
  }

  #changed(delay = 0) {
    this.#internals?.setFormValue(this.caption);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#muse && this.tag().catch(() => {}), delay);
  }

  /** Tags what is there now, as the element does by itself after each change; what runs is superseded. */
  async tag() {
    this.#tagging?.abort();
    const { signal } = (this.#tagging = new AbortController());
    const { caption, image } = this;
    const { result, sentiment, message, live } = this.#parts;
    /** @type {(progress: { done: number, total: number }) => unknown} */
    const onProgress = ({ done, total }) => !signal.aborted && total > LONG && this.#advance(done, total);
    try {
      if (!this.#muse) throw new MuseError("disposed", "no model is loaded");
      const empty = !caption && !image;
      const tagged = empty ? null : await this.#muse.tag({ caption, image, signal, onProgress });
      if (signal.aborted) return tagged;
      /** @type {{ result: TagResult | null }} */ (this).result = tagged;
      draw(result, tagged ? caption : "", tagged?.entities ?? [], marked, signal);
      const mood = tagged?.sentiment;
      sentiment.textContent = mood ? `${mood.label} ${percent(mood.score)}` : "";
      message.textContent = "";
      const told = tagged?.entities.slice(0, 12).map(({ type, text }) => `${text}: ${type}`) ?? [];
      put(live, [...told, sentiment.textContent].filter(Boolean).join(", "));
      if (tagged) this.#tell("result", tagged);
      return tagged;
    } catch (error) {
      this.#failed(error);
      throw error;
    } finally {
      if (/** @type {AbortController} */ (this.#tagging).signal === signal && this.#muse) this.#advance();
    }
  }
}

const { customElements } = globalThis;
if (customElements && !customElements.get("muse-tagger")) customElements.define("muse-tagger", MuseTagger);
