// Pictures on their way to the worker: a Blob is sent as the handle it is, pixels are moved and never read here. Which pictures
// the worker keeps, it alone knows; here they only get their numbers.
import { MuseError, wrong } from "./error.js";
import { get } from "./store.js";

/**
 * A picture's number: `once` where it is for this call alone, `fresh` where it was not seen before.
 * @typedef {{ id: number, once?: boolean, fresh?: boolean }} Numbered
 *
 * A picture, and the message with it.
 * @typedef {{ blob: Blob, bitmap?: undefined, width?: number, height?: number } | { bitmap: ImageBitmap }} Content
 * @typedef {{ blob: Blob, strips?: undefined, width?: number, height?: number } |
 *   { blob?: undefined, strips: ImageBitmap[], width: number, height: number }} Parcel
 */

/** @type {WeakMap<object, { id: number, source?: string }>} */
const known = new WeakMap();
const LARGE = 2 ** 20; // pixels that are copied in one go: some 5 ms
const MOST = 2 ** 26; // as in muse-core, but before they are copied
const pause = () => new Promise((resolve) => setTimeout(resolve));
let count = 0;

/**
 * A number for the picture. Objects whose content stays keep theirs, so that the worker sees them once; a canvas or an
 * ImageData may have been drawn on since, and gets a new one.
 *
 * @param {any} image
 * @returns {Numbered}
 */
export function number(image) {
  const is = (/** @type {string} */ type) => image instanceof (/** @type {any} */ (globalThis)[type] ?? Function);
  if (!is("Blob") && !is("ImageBitmap") && !is("HTMLImageElement")) return { id: ++count, once: true };
  const source = image.currentSrc || image.src; // of an element alone, which may show another picture later
  const fresh = known.get(image)?.source !== source || !known.has(image);
  if (fresh) known.set(image, { id: ++count, source });
  return { .../** @type {Numbered} */ (known.get(image)), fresh };
}

/** @param {string | URL} address @param {AbortSignal} signal */
async function fetched(address, signal) {
  let url;
  try {
    url = new URL(address, globalThis.document?.baseURI ?? self.location.href);
  } catch (/** @type {any} */ cause) {
    throw wrong(`this is not where a picture can be: ${cause.message}`, cause);
  }
  return (await get(url.href, { signal })).blob();
}

/**
 * What the picture is now, whatever becomes of the object.
 *
 * @param {any} image
 * @param {AbortSignal} signal
 * @returns {Promise<Content>}
 */
export async function capture(image, signal) {
  if (typeof image === "string" || image instanceof URL) return { blob: await fetched(image, signal) };
  if (image instanceof Blob) return { blob: image };
  try {
    const { data, width, height, colorSpace = "srgb" } = image;
    // Straight to the decoder: a bitmap would lose colour under transparency.
    if (data instanceof Uint8ClampedArray && colorSpace === "srgb") {
      const parts = [];
      for (let at = 0; at < data.length; at += LARGE) {
        if (at) await pause();
        parts.push(new Blob([/** @type {Uint8ClampedArray<ArrayBuffer>} */ (data.subarray(at, at + LARGE))]));
      }
      return { blob: new Blob(parts), width, height };
    }
    await image.decode?.();
    const { currentSrc, crossOrigin, naturalWidth, naturalHeight } = image;
    // Shown without CORS, its pixels may not be read; its file perhaps may. And a large element would be decoded on this
    // thread, where a file is not.
    const closed = /^http/.test(currentSrc) && !crossOrigin && new URL(currentSrc).origin !== self.origin;
    const file = closed || naturalWidth * naturalHeight > LARGE ? await fetched(currentSrc, signal).catch(() => {}) : undefined;
    const bitmap = await (file && createImageBitmap(file).catch(() => {}));
    return { bitmap: bitmap ?? (await createImageBitmap(image)) };
  } catch (/** @type {any} */ cause) {
    const code = cause instanceof TypeError || cause instanceof ReferenceError ? "argument" : "image";
    throw new MuseError(code, `this cannot be used as a picture: ${cause.message}`, cause);
  }
}

/**
 * A message with the picture, and what moves with it. The capture stays: a lost device may need it again.
 *
 * @param {Content} content
 * @returns {Promise<[Parcel, ImageBitmap[]]>}
 */
export async function parcel({ bitmap, ...rest }) {
  if (!bitmap) return [/** @type {Parcel} */ (rest), []];
  const { width, height } = bitmap;
  if (width * height > MOST) throw new MuseError("image", `the picture has ${width}×${height} pixels; make it smaller first`);
  const rows = Math.max(1, Math.floor(LARGE / width));
  /** @type {ImageBitmap[]} */
  const strips = [];
  try {
    for (let y = 0; y < height; y += rows) {
      if (y) await pause();
      strips.push(await createImageBitmap(bitmap, 0, y, width, Math.min(rows, height - y)));
    }
  } catch (cause) {
    for (const strip of strips) strip.close();
    throw cause;
  }
  return [{ strips, width, height }, strips];
}
