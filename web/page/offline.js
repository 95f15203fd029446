// The page's side of its service worker.
const box = navigator.serviceWorker;

/** Keeps the page for use without network; `renewed` is called when another version of it is there after a reload. */
export async function keepPage(renewed) {
  if (!box) return;
  let controlled = !!box.controller;
  box.addEventListener("controllerchange", () => {
    if (controlled) location.reload(); // a page and its parts are of one version
    controlled = true;
  });
  const known = await box.getRegistration();
  // A version that was fetched during an earlier visit takes over where no other tab needs the old one.
  known?.waiting?.postMessage({ go: true });
  const { version } = await (await fetch("precache.json", { cache: "no-cache" })).json();
  const registration = await box.register(`sw.js?v=${version}`, { updateViaCache: "none" });
  const watch = () => {
    const next = registration.installing;
    next?.addEventListener("statechange", () => next.state === "installed" && box.controller && renewed());
  };
  registration.addEventListener("updatefound", watch);
  watch();
}

/** Keeps further files of the page, such as the WebAssembly that this device needs. True once they are there. */
export async function keepFiles(files) {
  if (!box || !(await box.getRegistration())) return false;
  const { active } = await box.ready;
  const { port1, port2 } = new MessageChannel();
  active.postMessage({ keep: files }, [port2]);
  return new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
}

export async function forgetPage() {
  const registration = await box?.getRegistration();
  await registration?.unregister();
  for (const name of await caches.keys()) if (name.startsWith(`muse-page ${registration?.scope} `)) await caches.delete(name);
}
