// <muse-tagger>: a caption, a picture and what is named in them, as a tag.
import { Muse, MuseError } from "./muse.js";

// Slots instead of wired words: a page in another language puts its own.
const HTML = `
<label><slot name="caption-label">Caption</slot>
<textarea part="caption" rows="3" dir="auto"></textarea></label>
<label><slot name="picture-label">Picture</slot>
<input part="file" type="file" accept="image/*"></label>
<canvas part="preview" role="img" hidden></canvas>
<button part="remove" type="button" hidden><slot name="remove-label">Remove the picture</slot></button>
<progress part="progress" aria-label="Loading" hidden></progress>
<p part="result" dir="auto"></p>
<p part="sentiment"></p>
<p part="notice"></p>
<p part="message"></p>
<p part="live" role="status"></p>`;

// A constructed sheet: a page's Content-Security-Policy needs no exception for it.
// Translucent colours suit a light and a dark page alike, whichever the page has chosen.
const CSS = `
:host{display:block}
:host([hidden]),[hidden]{display:none!important}
label,textarea,progress,canvas{display:block}
textarea,progress{box-sizing:border-box;width:100%}
textarea,input,button{max-width:100%;font:inherit}
label,p{margin:.5em 0;overflow-wrap:anywhere}
p:empty{display:none}
canvas{max-width:100%;max-height:16em;margin:.5em 0}
[part=result]{white-space:pre-wrap;line-height:1.9}
mark{padding:.1em .3em;border-radius:.3em;background:#a5c6;color:inherit}
mark[data-type=PER]{background:#f906}
mark[data-type=LOC]{background:#0a56}
mark[data-type=ORG]{background:#38f6}
small{margin-inline-start:.4em;font-weight:600}
[part=live]{position:absolute;width:1px;height:1px;margin:0;overflow:hidden;clip-path:inset(50%);white-space:nowrap}`;

let sheet;
const percent = (score) => `${Math.round(100 * score)} %`;

function part(tag, name, text) {
  const element = document.createElement(tag);
  element.setAttribute("part", name);
  element.textContent = text;
  return element;
}

/** The caption with its entities marked. What a caption holds is only ever text. */
function marked(caption, entities) {
  const nodes = [];
  let at = 0;
  for (const { type, text, start, end, score } of entities) {
    const mark = part("mark", `entity entity-${type.toLowerCase()}`, text);
    mark.dataset.type = type;
    mark.append(part("small", "type", `${type} ${percent(score)}`));
    nodes.push(caption.slice(at, start), mark);
    at = end;
  }
  return [...nodes, caption.slice(at)];
}

export class MuseTagger extends HTMLElement {
  static formAssociated = true;
  static observedAttributes = ["src", "device", "caption"];

  #internals = this.attachInternals?.();
  #parts = {};
  #image = null;
  #muse;
  #loading;
  #tagging;
  #timer;

  result = null;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    root.append(document.createRange().createContextualFragment(HTML));
    for (const element of root.querySelectorAll("[part]")) this.#parts[element.getAttribute("part")] = element;
    const { caption, file, remove } = this.#parts;
    caption.oninput = () => this.#changed(250);
    file.onchange = () => (this.image = file.files[0] ?? null);
    remove.onclick = () => {
      file.value = "";
      this.image = null;
      file.focus();
    };
  }

  connectedCallback() {
    // What was set before this module was loaded.
    for (const name of ["caption", "image"]) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    this.#load();
  }

  disconnectedCallback() {
    // Moved in the document, it comes back at once.
    queueMicrotask(() => this.isConnected || this.#leave());
  }

  attributeChangedCallback(name, old, value) {
    if (old === value) return;
    if (name === "caption") this.caption = value ?? "";
    else if (name === "device" && this.#muse) this.#muse.useDevice(value || "auto").catch((error) => this.#failed(error));
    else if (this.isConnected) {
      this.#leave();
      this.#load();
    }
  }

  formResetCallback() {
    this.caption = this.getAttribute("caption") ?? "";
    this.image = null;
  }

  formDisabledCallback(disabled) {
    const { caption, file, remove } = this.#parts;
    caption.disabled = file.disabled = remove.disabled = disabled;
  }

  /** The loaded model, or undefined. */
  get muse() {
    return this.#muse;
  }

  get caption() {
    return this.#parts.caption.value;
  }

  set caption(text) {
    this.#parts.caption.value = text;
    this.#changed();
  }

  get image() {
    return this.#image;
  }

  set image(image) {
    this.#image = image ?? null;
    this.#parts.remove.hidden = !image;
    this.#preview(image);
    this.#changed();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`muse-${name}`, { detail, bubbles: true, composed: true }));
  }

  #failed(error) {
    if (error.code === "aborted" || error.code === "disposed") return;
    this.#parts.message.textContent = this.#parts.live.textContent = error.message;
    this.#tell("error", error);
  }

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
      preview.setAttribute("aria-label", image.name || image.alt || "Picture");
      preview.hidden = false;
    } catch {
      // The browser cannot show it. Whether it can be read, the model says.
    }
  }

  async #load() {
    const src = this.getAttribute("src");
    if (!src || this.#loading) return;
    const { progress, notice, message } = this.#parts;
    const control = (this.#loading = new AbortController());
    notice.textContent = message.textContent = "";
    try {
      const muse = await Muse.load(src, {
        device: this.getAttribute("device") || "auto",
        sha256: this.getAttribute("sha256") || undefined,
        signal: control.signal,
        onProgress: (detail) => {
          progress.hidden = false;
          progress.max = detail.total || 1;
          progress.value = detail.loaded;
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
      if (control === this.#loading) progress.hidden = true;
    }
  }

  #leave() {
    this.#loading?.abort();
    this.#muse?.dispose();
    this.#loading = this.#muse = undefined;
  }

  #changed(delay = 0) {
    this.#internals?.setFormValue(this.caption);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#muse && this.tag().catch(() => {}), delay);
  }

  /** Tags what is there now; what runs is superseded. */
  async tag() {
    this.#tagging?.abort();
    const { signal } = (this.#tagging = new AbortController());
    const { caption, image } = this;
    const { result, sentiment, message, live } = this.#parts;
    try {
      if (!this.#muse) throw new MuseError("disposed", "no model is loaded");
      const empty = !caption && !image;
      const tagged = empty ? null : await this.#muse.tag({ caption, image, signal });
      this.result = tagged;
      result.replaceChildren(...(tagged ? marked(caption, tagged.entities) : []));
      const mood = tagged?.sentiment;
      sentiment.textContent = mood ? `${mood.label} ${percent(mood.score)}` : "";
      message.textContent = "";
      live.textContent = tagged ? [...tagged.entities.map(({ type, text }) => `${text}: ${type}`), sentiment.textContent].join(", ") : "";
      if (tagged) this.#tell("result", tagged);
      return tagged;
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  }
}

if (!customElements.get("muse-tagger")) customElements.define("muse-tagger", MuseTagger);
