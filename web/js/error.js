/** @typedef {"unsupported" | "aborted" | "network" | "damaged" | "model" | "image" | "device" | "disposed" | "argument"} ErrorCode */

/** An error with a `code` that stays the same between versions; its message is for people and may change. */
export class MuseError extends Error {
  /**
   * - `"unsupported"`: the browser lacks what this needs, or the worker did not start.
   * - `"aborted"`: the caller's signal fired.
   * - `"network"`: the model, the module or a picture could not be fetched.
   * - `"damaged"`: the model arrived cut short, or with another SHA-256, twice.
   * - `"model"`: not a model file, of another version, or damaged.
   * - `"image"`: the picture cannot be read, or is too large.
   * - `"device"`: it failed on the CPU, too.
   * - `"disposed"`: the model was disposed of.
   * - `"argument"`: the call itself is wrong: an argument is missing, of another type or out of bounds.
   *
   * @readonly
   * @type {ErrorCode}
   */
  code;

  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {unknown} [cause]
   */
  constructor(code, message, cause) {
    super(message, { cause });
    this.name = "MuseError";
    this.code = code;
  }
}

/** The call itself is wrong. @type {(message: string, cause?: unknown) => MuseError} */
export const wrong = (message, cause) => new MuseError("argument", message, cause);
