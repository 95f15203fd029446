// What the exchange did, layer by layer: on the picture, in the caption, and in words.
import { $, make, percent, phrase } from "./result.js";

const SIDE = 8;
const SHOWN = 200; // words; more would make a wall
let chosen = 0; // the layer, kept from one answer to the next

const place = (region) => `row ${1 + Math.floor(region / SIDE)}, column ${1 + (region % SIDE)}`;

const cell = ({ attention, exchanged }, region, least, most) =>
  make("span", {
    data: { region, exchanged },
    title: `${place(region)}: ${percent(attention, 1)}`,
    lit: most > least ? (attention - least) / (most - least) : 1,
  }, exchanged ? "⇄" : "");

function chip({ attention, exchanged }, text, most) {
  const swap = exchanged < 1 ? ` ⇄ ${percent(exchanged)}` : " ⇄";
  return make("li", { data: { exchanged }, lit: attention / most }, make("bdi", {}, text), exchanged ? swap : "");
}

function show({ exchanges, words, regions }, index, texts) {
  const shares = regions.map(({ attention }) => attention);
  const [least, most] = [Math.min(...shares), Math.max(...shares)];
  $("regions").replaceChildren(...regions.map((region, i) => cell(region, i, least, most)));
  $("least").textContent = percent(least, 1);
  $("most").textContent = percent(most, 1);
  const longest = words.reduce((longest, { attention }) => Math.max(longest, attention), 1e-9);
  $("words").replaceChildren(...words.slice(0, SHOWN).map((word, i) => chip(word, texts[i], longest)));

  const gone = regions.flatMap(({ exchanged, attention }, i) => (exchanged ? `${place(i)} (${percent(attention, 1)})` : []));
  const taken = texts.filter((_, i) => words[i].exchanged);
  const notes = [`${taken.length} of ${words.length} words took the picture’s mean.`];
  if (!exchanges) notes[0] = phrase("silent-layer");
  else if (!taken.length) notes.push(phrase("end-mark"));
  if (words.length > SHOWN) notes.push(phrase("many", SHOWN));
  $("words-note").textContent = notes.join(" ");
  $("region-text").textContent = $("regions").ariaLabel =
    `Layer ${index + 1}: ${gone.length} of ${regions.length} regions took the caption’s mean. Most attended: ${place(shares.indexOf(most))}.`;
  $("region-list").textContent = gone.join("; ") || "none";
  const listed = taken.slice(0, SHOWN).flatMap((text) => [", ", make("bdi", {}, text)]);
  $("word-list").replaceChildren(...(listed.length ? listed.slice(1) : ["none"]));
}

/** `image` is the picture as shown above; without regions there was none, and nothing to tell. */
export function showExchange(caption, { exchange, words }, image, { theta }) {
  const layers = exchange?.layers ?? [];
  if (($("exchange").hidden = !layers[0]?.regions.length)) return;
  const texts = words.map(({ start, end }) => caption.slice(start, end));
  const { src, alt } = image;
  Object.assign($("exchange-picture"), { src, alt });
  $("theta").textContent = percent(theta);
  chosen = Math.min(chosen, layers.length - 1);
  const choices = layers.map((layer, index) => {
    const input = make("input", { type: "radio", name: "layer", value: index, checked: index === chosen });
    input.onchange = () => show(layer, (chosen = index), texts);
    return make("label", {}, input, make("span", {}, `${index + 1}`));
  });
  $("layers").replaceChildren($("layers").firstElementChild, ...choices);
  show(layers[chosen], chosen, texts);
}
