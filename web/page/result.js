// A tagged caption: marks, table, sentiment, times. Whatever comes from outside is only ever text.
export const $ = (id) => document.getElementById(id);
export const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)} %`;

/** A confidence, rounded down: nothing is certain. */
const sure = (score, digits) => percent(Math.max(0, score - 0.5 / 10 ** (digits + 2)), digits);

export function make(tag, { data, ...rest } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

const ROWS = 100; // a longer table would keep the main thread
const TYPES = { PER: "person", LOC: "place", ORG: "organisation", MISC: "other" };
const called = (type) => TYPES[type] ?? type;
const STEPS = { queue: "waiting", picture: "picture", model: "caption, exchange", decode: "reading, labels", total: "in all" };

function mark({ type, text, score }) {
  const label = make("span", { className: "label" }, ` ${called(type)} ${sure(score, 0)}`);
  return make("mark", { className: "entity", data: { type } }, make("bdi", {}, text), label);
}

function marked(caption, entities) {
  const parts = [];
  let at = 0;
  for (const entity of entities) {
    parts.push(caption.slice(at, entity.start), mark(entity));
    at = entity.end;
  }
  return [...parts, caption.slice(at)];
}

const share = (value) => {
  const bar = make("i", { className: "share" });
  bar.style.setProperty("--share", value);
  return bar;
};

const row = ({ type, text, start, end, score }) =>
  make("tr", { data: { type } },
    make("th", { scope: "row", dir: "auto" }, text),
    make("td", {}, make("span", { className: "type" }, called(type))),
    make("td", {}, `${start}–${end}`),
    make("td", {}, share(score), sure(score, 1)));

export function showResult(caption, answer) {
  const entities = answer.entities.toSorted?.((a, b) => a.start - b.start) ?? answer.entities;
  const { sentiment, timings } = answer;
  $("result").replaceChildren(...marked(caption, entities));
  $("findings").hidden = false;
  $("none").textContent = !entities.length ? "No people, places or organisations found."
    : entities.length > ROWS ? `The first ${ROWS} of ${entities.length}; the JSON has all.` : "";
  $("entities").hidden = !entities.length;
  $("entities").tBodies[0].replaceChildren(...entities.slice(0, ROWS).map(row));
  const classes = Object.entries(sentiment?.probabilities ?? {});
  $("sentiment").replaceChildren(...classes.map(([name, value]) =>
    make("p", { className: name === sentiment.label ? "top" : "" }, make("span", {}, name), share(value), percent(value))));
  $("sentiment-title").hidden = !sentiment;
  const steps = Object.entries(STEPS).filter(([step]) => timings[step] !== undefined);
  $("timings").replaceChildren(...steps.map(([step, name]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, `${timings[step].toFixed(timings[step] < 10 ? 1 : 0)} ms`))));

  const told = entities.slice(0, 12).map(({ type, text, score }) => `${text}, ${called(type)}, ${sure(score, 0)}`);
  const heading = `${entities.length || "No"} ${entities.length === 1 ? "entity" : "entities"} found`;
  const feeling = sentiment ? ` Sentiment: ${sentiment.label}, ${percent(sentiment.score)}.` : "";
  $("live").textContent = `${[heading, ...told].join("; ")}.${feeling}`;
}

export function showNothing() {
  $("result").textContent = "Type a caption, or try a sample.";
  $("findings").hidden = true;
  $("live").textContent = "";
}
