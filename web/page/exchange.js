// What the exchange did, layer by layer: on the picture, in the caption, and in words.
import { $, make, percent } from "./result.js";

const SIDE = 8;
const SHOWN = 200; // words; more would make a wall
let chosen = 0; // the layer, kept from one answer to the next

const place = (region) => `row ${1 + Math.floor(region / SIDE)}, column ${1 + (region % SIDE)}`;

function cell({ attention, exchanged }, region, least, most) {
  const item = make("span", {
    data: { region, exchanged },
    title: `${place(region)}: ${percent(attention, 1)} of the attention${exchanged ? ", took the caption’s mean" : ""}`,
  }, exchanged ? "⇄" : "");
  item.style.setProperty("--lit", most > least ? (attention - least) / (most - least) : 1);
  return item;
}

function chip({ attention, exchanged }, text, most) {
  const item = make("li", { data: { exchanged } }, make("bdi", {}, text));
  if (exchanged) item.append(make("span", { className: "swap" }, exchanged < 1 ? ` ⇄ ${percent(exchanged)}` : " ⇄"));
  item.style.setProperty("--lit", most ? attention / most : 0);
  return item;
}

function show({ exchanges, words, regions }, index, texts) {
  const [least, most] = [Math.min, Math.max].map((pick) => pick(...regions.map(({ attention }) => attention)));
  $("regions").replaceChildren(...regions.map((region, i) => cell(region, i, least, most)));
  $("least").textContent = percent(least, 1);
  $("most").textContent = percent(most, 1);
  const longest = words.reduce((longest, { attention }) => Math.max(longest, attention), 0);
  $("words").replaceChildren(...words.slice(0, SHOWN).map((word, i) => chip(word, texts[i], longest)));

  const swappedWords = texts.filter((_, i) => words[i].exchanged);
  const swapped = regions.flatMap(({ exchanged, attention }, i) => (exchanged ? `${place(i)} (${percent(attention, 1)})` : []));
  const top = regions.findIndex(({ attention }) => attention === most);
  const counted = `${swapped.length} of ${regions.length} regions took the caption’s mean`;
  $("regions").ariaLabel = `Layer ${index + 1}: ${exchanges ? counted : "no exchange"}; most attended: ${place(top)}.`;
  $("words-note").textContent =
    (exchanges ? `${swappedWords.length || "No"} of ${words.length} words took the picture’s mean.` : "This layer does not exchange.") +
    (exchanges && !swappedWords.length ? " The end mark, which counts as a token, can take it too." : "") +
    (words.length > SHOWN ? ` The first ${SHOWN} words are shown.` : "");
  $("exchange-text").textContent =
    `Layer ${index + 1}. ${counted}: ${swapped.join("; ") || "none"}. Most attended: ${place(top)} (${percent(most, 1)}). ` +
    `Words that took the picture’s mean: ${swappedWords.slice(0, SHOWN).join(", ") || "none"}.`;
}

/** `image` is the picture as shown above; without regions there was none, and nothing to tell. */
export function showExchange(caption, { exchange, words }, image, info) {
  const layers = exchange?.layers ?? [];
  $("exchange").hidden = !layers[0]?.regions.length;
  if ($("exchange").hidden) return;
  const texts = words.map(({ start, end }) => caption.slice(start, end));
  $("exchange-picture").src = image.src;
  $("exchange-picture").alt = image.alt;
  $("exchange-rule").textContent =
    `the tokens that a side’s class row (its summary) attends to least, about ${percent(info.theta)} of them, take the mean of the other side.`;
  chosen = Math.min(chosen, layers.length - 1);
  const choices = layers.map((layer, index) => {
    const input = make("input", { type: "radio", name: "layer", value: index, checked: index === chosen });
    input.onchange = () => show(layer, (chosen = index), texts);
    return make("label", {}, input, make("span", {}, `${index + 1}`));
  });
  $("layers").replaceChildren($("layers").firstElementChild, ...choices);
  show(layers[chosen], chosen, texts);
}
