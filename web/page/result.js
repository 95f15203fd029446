// A tagged caption: marks, table, sentiment, times. Whatever comes from outside is only ever text.
export const $ = (id) => document.getElementById(id);

/** Changes a text only where it is another: a screen reader would read the same words once more. */
export function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

export const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)} %`;

/** One of the page's sentences, which index.html holds; none for a key that it does not know. */
export const phrase = (key, value) => $("phrases").getAttribute(`data-${key}`)?.replace("$", () => value) ?? "";

export function make(tag, { data, lit, ...rest } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  if (lit !== undefined) element.style.setProperty("--lit", lit);
  element.append(...children);
  return element;
}

const ROWS = 100; // a longer table would keep the main thread
const called = (type) => phrase(`type-${type}`) || type;
/** A confidence, rounded down: nothing is certain. */
const sure = (score, digits) => percent(Math.max(0, score - 0.5 / 10 ** (digits + 2)), digits);
const bar = (lit) => make("i", { className: "share", lit });

const marked = ({ type, text, score }) =>
  make("mark", { className: "entity", data: { type } },
    make("bdi", {}, text), make("span", { className: "label" }, ` ${called(type)} ${sure(score, 0)}`));

const row = ({ type, text, start, end, score }) =>
  make("tr", { data: { type } },
    make("th", { scope: "row", dir: "auto" }, text),
    make("td", {}, make("span", { className: "type" }, called(type))),
    make("td", {}, `${start}–${end}`),
    make("td", {}, bar(score), sure(score, 1)));

/** Ready when all of a long caption is drawn. `draw` is the module's. What is less sure than the visitor wants is left out. */
export function showResult(draw, caption, { entities: found, sentiment, timings }, signal) {
  const least = $("threshold").value / 100;
  const entities = found.filter(({ score }) => score >= least);
  const count = entities.length;
  const unsure = count < found.length ? phrase("unsure", found.length - count) : "";
  put("threshold-value", percent(least));
  $("threshold").setAttribute("aria-valuetext", percent(least));
  $("unsure").textContent = unsure;
  $("sureness").hidden = !found.length;
  $("findings").hidden = false;
  const drawn = draw($("result"), caption, entities, marked, signal);
  $("none").textContent = found.length ? (count > ROWS ? phrase("many", ROWS) : "") : phrase("none");
  $("entities").hidden = !count;
  $("entities").tBodies[0].replaceChildren(...entities.slice(0, ROWS).map(row));
  $("sentiment-title").hidden = !sentiment;
  $("sentiment").replaceChildren(...Object.entries(sentiment?.probabilities ?? {}).map(([name, value]) =>
    make("p", { className: name === sentiment.label ? "top" : "" }, make("span", {}, name), bar(value), percent(value))));
  for (const step of $("timings").querySelectorAll("dd")) {
    const time = timings[step.dataset.step];
    step.textContent = `${time.toFixed(time < 10 ? 1 : 0)} ms`;
  }
  const told = entities.slice(0, 12).map(({ type, text, score }) => `${text}, ${called(type)}, ${sure(score, 0)}`);
  if (unsure) told.push(unsure);
  if (sentiment) told.push(`Sentiment: ${sentiment.label}, ${percent(sentiment.score)}`);
  put("live", [count === 1 ? "1 entity" : `${count} entities`, ...told].join("; "));
  return drawn;
}

export function showNothing(why) {
  $("result").textContent = phrase(why);
  $("findings").hidden = true;
  put("live", "");
}
