// Pictures come in by choice, camera, drop, paste or sample; all end in `setPicture`.
import { $, make } from "./result.js";

/**
 * Calls `taken(blob or null, delay)` for each picture, and after each change of the caption; `say(key, name)` where there is none:
 * what is dropped or pasted is no picture, or a sample cannot be fetched.
 */
export function listen(taken, say) {
  let asked = 0; // the sample asked for last

  function setPicture(file, alt = `Your picture${file?.name ? `, ${file.name}` : ""}`) {
    asked++;
    const preview = $("image-preview");
    URL.revokeObjectURL(preview.src);
    $("picture").hidden = !file;
    preview.alt = file ? alt : "";
    if (file) preview.src = URL.createObjectURL(file);
    else preview.removeAttribute("src");
    taken(file, 0);
  }

  for (const id of ["image-input", "camera-input"])
    $(id).onchange = ({ target }) => {
      if (target.files[0]) setPicture(target.files[0]);
      target.value = ""; // the same file can be chosen again
    };
  $("image-remove").onclick = () => {
    setPicture(null);
    $("image-input").focus();
  };
  $("caption").oninput = () => {
    asked++; // what is typed is not to be overwritten by a sample that is still on its way
    taken();
  };

  // Words that are dropped or pasted go where the browser puts them.
  const take = (event) => {
    const { type, dataTransfer, clipboardData } = event;
    const { types, items } = dataTransfer ?? clipboardData;
    $("drop").classList.toggle("over", type === "dragover" && types.includes("Files"));
    // A word processor's clipboard holds its text as a picture, too.
    if (!types.includes("Files") || (clipboardData && types.includes("text/plain"))) return;
    event.preventDefault();
    if (type.startsWith("drag")) return;
    // A folder comes as a file without a type.
    const files = [...items].filter((item) => item.kind === "file" && !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile());
    const picture = files.find(({ type }) => type.startsWith("image/")) ?? files.find(({ type }) => !type);
    if (picture) setPicture(picture);
    else say("no-picture", files[0]?.name ?? "a folder");
  };
  for (const type of ["dragover", "dragleave", "drop", "paste"]) addEventListener(type, take);

  async function samples() {
    const all = await (await fetch("samples/samples.json")).json();
    $("samples").replaceChildren(...all.map((sample) => {
      const address = `samples/${sample.file}`;
      const button = make("button", { type: "button" }, make("img", { src: address, alt: "", loading: "lazy" }), sample.title);
      button.onclick = async () => {
        const mine = ++asked;
        const photo = await fetch(address).then((response) => response.ok && response.blob()).catch(() => {});
        if (mine !== asked) return;
        if (!photo) return say("no-sample", sample.title);
        $("caption").value = sample.caption;
        setPicture(photo, sample.alt);
      };
      const source = make("a", { href: sample.url }, sample.source);
      return make("figure", {}, button, make("figcaption", {}, "Photo: ", source, `, ${sample.licence}`));
    }));
  }
  samples().catch(() => ($("samples-title").hidden = true));
  return setPicture;
}
