// What JSDoc cannot say: the document knows the element by its name, and its events by theirs.
import type { MuseTagger, MuseTaggerEventMap } from "./element.js";

declare global {
  interface HTMLElementTagNameMap {
    "muse-tagger": MuseTagger;
  }
  interface HTMLElementEventMap extends MuseTaggerEventMap {}
}
