import type { Device, DeviceChange, ModelInfo, Muse, MuseError, Picture, Progress, TagResult } from "./muse.js";

/**
 * `<muse-tagger src="model.muse" device="auto" caption="…" sha256="…" name="…">`. In a form, its value is the caption.
 */
export class MuseTagger extends HTMLElement {
  caption: string;
  image: Picture | null;
  /** The last result; `null` while there is nothing to tag. */
  readonly result: TagResult | null;
  /** The model, once it is loaded. */
  readonly muse: Muse | undefined;
  /** Tags what is there now; the element does it by itself after each change. */
  tag(): Promise<TagResult | null>;
}

export interface MuseTaggerEventMap {
  "muse-ready": CustomEvent<{ device: Device; info: ModelInfo; source: Muse["source"] }>;
  "muse-progress": CustomEvent<Progress>;
  "muse-result": CustomEvent<TagResult>;
  "muse-error": CustomEvent<MuseError>;
  "muse-devicechange": CustomEvent<DeviceChange>;
}

declare global {
  interface HTMLElementTagNameMap {
    "muse-tagger": MuseTagger;
  }
  interface HTMLElementEventMap extends MuseTaggerEventMap {}
}
