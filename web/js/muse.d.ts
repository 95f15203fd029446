/** Where a model runs. */
export interface Device {
  kind: "webgpu" | "cpu";
  /** The graphics adapter's name, or the CPU's. */
  name: string;
}

/** A wish; `"auto"` takes WebGPU on a real graphics adapter, else the CPU. */
export type DeviceChoice = "auto" | "webgpu" | "cpu";

export type ErrorCode =
  /** The browser lacks what this needs, or the worker did not start. */
  | "unsupported"
  /** The caller's signal fired. */
  | "aborted"
  /** The model, the module or a picture could not be fetched. */
  | "network"
  /** The model arrived cut short, or with another SHA-256, twice. */
  | "damaged"
  /** Not a model file, of another version, or damaged. */
  | "model"
  /** The picture cannot be read, or is too large. */
  | "image"
  /** It failed on the CPU, too. */
  | "device"
  | "disposed"
  /** The call itself is wrong: an argument is missing, of another type or out of bounds. */
  | "argument";

export class MuseError extends Error {
  constructor(code: ErrorCode, message: string, cause?: unknown);
  readonly code: ErrorCode;
}

export interface Progress {
  /** In this order, as far as they apply. */
  phase: "download" | "cache" | "verify" | "compile" | "prepare";
  /** Bytes; passes where the phase is `"prepare"`. */
  loaded: number;
  /** As `loaded`, as far as it is known: a download of unknown length has what is loaded. */
  total: number;
}

export interface LoadOptions {
  /** `"auto"` by default. */
  device?: DeviceChoice;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
  /** Keep the file in the Cache API, once it is loaded from the network, and take it from there; `true` by default. */
  cache?: boolean;
  /**
   * The SHA-256 of the file at an address, in hexadecimal. A copy in the cache with another one is fetched anew; without it a copy
   * in the cache is taken for good. It is not checked in an insecure context, where browsers cannot, nor of bytes that are given; the
   * file's own checksum always is.
   */
  sha256?: string;
  /** Run once for each length of text, so that the first real call is fast; `true` by default. */
  warm?: boolean;
}

export type ModelSource = string | URL | ArrayBuffer | Uint8Array | Blob;

/**
 * A file (JPEG, PNG, WebP, GIF) as a Blob or by its address, or something that has pixels. Of Blobs, bitmaps and image elements
 * that are given again the last 16 are not looked at again; canvases and ImageData always are, for they may have changed.
 */
export type Picture =
  | Blob
  | string
  | URL
  | ImageData
  | ImageBitmap
  | HTMLImageElement
  | HTMLCanvasElement
  | OffscreenCanvas;

export interface TagItem {
  /** At most 4,194,304 UTF-16 units. */
  caption: string;
  image?: Picture | null;
}

export interface TagOptions {
  /** Ends the wait at once with code `"aborted"`, and the work at its next step. */
  signal?: AbortSignal;
  /** Tell what the exchange did; `true` by default. */
  exchange?: boolean;
  /** How far it is: `tag` counts the parts that a long caption is cut into, `tagBatch` captions. */
  onProgress?: (progress: { done: number; total: number }) => void;
}

/** Offsets in UTF-16 units: `caption.slice(start, end)`. */
export interface Span {
  start: number;
  end: number;
}

export interface Entity extends Span {
  /** Of the model's own, for instance `"PER"`. */
  type: string;
  text: string;
  /** Probability of exactly this span with this type. */
  score: number;
}

export interface Sentiment {
  label: string;
  score: number;
  probabilities: Record<string, number>;
}

export interface ExchangedToken {
  /** Attention that its stream's class token pays to it. */
  attention: number;
  /** Share of it that took the other stream's mean, from 0 to 1. */
  exchanged: number;
}

export interface ExchangeLayer {
  exchanges: boolean;
  /** One for each of the result's words. */
  words: ExchangedToken[];
  /** 8×8 regions of the picture, row by row; none without a picture. */
  regions: ExchangedToken[];
  /** Distance between the scores on the two sides of the choice. */
  margins: { words: number | null; regions: number | null };
}

/** Milliseconds; those of a batch are shared by its captions. */
export interface Timings {
  /** Waiting for earlier calls. */
  queue: number;
  /** Fetching and decoding the picture. */
  decode: number;
  /** The image encoder. */
  picture: number;
  /** The text encoder, the exchange and the heads. */
  model: number;
  /** From the call to the result. */
  total: number;
}

export interface TagResult {
  entities: Entity[];
  words: Span[];
  /** `null` where the model has no such head, and where there is neither a word nor a picture. */
  sentiment: Sentiment | null;
  /** `null` where it was not asked for. */
  exchange: { layers: ExchangeLayer[] } | null;
  /** Length of the text in word pieces, and how many windows it took. */
  pieces: number;
  windows: number;
  device: Device;
  timings: Timings;
}

export interface ModelInfo {
  tags: string[];
  classes: string[];
  maxPieces: number;
  layers: number;
  exchangeLayers: [number, number];
  theta: number;
  imageSize: number;
  weights: number;
}

export interface Fallback {
  reason: "no-webgpu" | "no-adapter" | "device-lost" | "device-failed";
  /** One line for people. */
  message: string;
}

export interface DeviceChange {
  device: Device;
  /** `"asked"` after `useDevice`. */
  reason: Fallback["reason"] | "asked";
  message: string;
}

export interface MuseEventMap {
  devicechange: CustomEvent<DeviceChange>;
}

export class Muse extends EventTarget {
  private constructor();

  /** Whether this browser can run it, and if not, why. */
  static supported(): { ok: boolean; reason: string };

  /** Loads a model. The same one loaded twice on a page, with the same `device` and `sha256`, shares one worker. */
  static load(source: ModelSource, options?: LoadOptions): Promise<Muse>;

  /** Whether the model is in this browser's cache now; where nothing may be kept it is not. */
  static cached(source: ModelSource, options?: { sha256?: string }): Promise<boolean>;

  /** Removes all models from the cache. */
  static clearCache(): Promise<boolean>;

  readonly device: Device;
  readonly info: ModelInfo;
  readonly source: { from: "network" | "cache" | "bytes"; bytes: number };
  /** Why this worker runs on the CPU although it was started for another device, else `null`. */
  readonly fallback: Fallback | null;

  /** Tags one caption, with its picture or without. */
  tag(item: TagItem & TagOptions): Promise<TagResult>;

  /** Tags many; faster than one by one. One that fails fails all. */
  tagBatch(items: Iterable<TagItem>, options?: TagOptions): Promise<TagResult[]>;

  /** Moves to another device; what runs finishes on the old one. Of several calls the last counts; each gives what is in use then. */
  useDevice(device: DeviceChoice): Promise<Device>;

  /** Memory of the WebAssembly module, which holds the model where the CPU runs it. */
  memory(): Promise<{ wasmBytes: number }>;

  /** Loses the graphics device on purpose, when its turn comes, so that a site can see how it takes that. */
  loseDevice(): Promise<void>;

  /** Frees the worker, unless another still uses it. */
  dispose(): void;

  addEventListener<K extends keyof MuseEventMap>(
    type: K,
    listener: (this: Muse, event: MuseEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof MuseEventMap>(
    type: K,
    listener: (this: Muse, event: MuseEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
