// A caption with its entities marked, a slice at a time, so that a long one keeps nobody waiting.
const SLICE = 4000; // characters

/**
 * Where a slice from `at` ends: after a line, else after a word, and never within a pair of surrogates.
 *
 * @param {string} caption
 * @param {number} at
 */
function cut(caption, at) {
  const end = at + SLICE;
  if (end >= caption.length) return caption.length;
  for (const mark of ["\n", " "]) {
    const found = caption.lastIndexOf(mark, end) + 1;
    if (found > at + SLICE / 2) return found;
  }
  return end + /** @type {any} */ (/** @type {number} */ (caption.codePointAt(end - 1)) > 0xffff);
}

/**
 * Puts the caption into `parent`; `mark(entity)` gives an entity's element. The first slice is there at once, the others follow
 * until the signal fires. Each is a block of its own: the browser need not lay out what is not in view.
 *
 * @template {import("./muse.js").Span} E
 * @param {HTMLElement} parent
 * @param {string} caption
 * @param {E[]} entities
 * @param {(entity: E) => Node} mark
 * @param {AbortSignal} [signal]
 */
export async function draw(parent, caption, entities, mark, signal) {
  parent.replaceChildren();
  let next = 0;
  for (let at = 0; at < caption.length; ) {
    let end = cut(caption, at);
    const block = parent.ownerDocument.createElement("div");
    block.className = "slice";
    // The first decides for all, as if they were one.
    block.dir = at ? getComputedStyle(/** @type {Element} */ (parent.firstChild)).direction : "auto";
    for (; next < entities.length && entities[next].start < end; next++) {
      const entity = entities[next];
      block.append(caption.slice(at, entity.start), mark(entity));
      at = entity.end;
      end = Math.max(end, at);
    }
    block.append(caption.slice(at, end));
    at = end;
    parent.append(block);
    if (at < caption.length) await new Promise((resolve) => setTimeout(resolve));
    if (signal?.aborted) return;
  }
}
