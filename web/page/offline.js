// The page's side of its service worker. Where there is none (an insecure address, a private window), nothing is kept.
const box = navigator.serviceWorker;

/** Keeps the page for use without network; `renewed` is called when another version of it is there after a reload. */
export async function keepPage(renewed) {
  if (!box) return;
  let controlled = box.controller;
  box.oncontrollerchange = () => {
    if (controlled) location.reload(); // a page and its parts are of one version
    controlled = true;
  };
  const known = await box.getRegistration();
  // A version that was fetched during an earlier visit takes over where no other tab needs the old one.
  known?.waiting?.postMessage({});
  try {
    const { version } = await (await fetch("precache.json", { cache: "no-cache" })).json();
    const registration = await box.register(`sw.js?v=${version}`);
    const watch = ({ installing } = registration) =>
      installing?.addEventListener("statechange", () => installing.state === "installed" && box.controller && renewed());
    registration.onupdatefound = () => watch();
    watch();
  } catch {} // without network, or refused
}

/** Keeps further files of the page, such as the WebAssembly that this device needs. True once they are there. */
export async function keepFiles(files) {
  if (!box) return;
  const { active } = await box.ready;
  const { port1, port2 } = new MessageChannel();
  active.postMessage({ files }, [port2]);
  return new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
}

export async function forgetPage() {
  const registration = await box?.getRegistration();
  if (!registration) return;
  await registration.unregister();
  for (const name of await caches.keys()) if (name.startsWith(`muse-page ${registration.scope} `)) await caches.delete(name);
}
