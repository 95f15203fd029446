/** An error with a `code` that stays the same between versions; its message is for people and may change. */
export class MuseError extends Error {
  constructor(code, message, cause) {
    super(message, { cause });
    this.name = "MuseError";
    this.code = code;
  }
}

/** The call itself is wrong. */
export const wrong = (message, cause) => new MuseError("argument", message, cause);
