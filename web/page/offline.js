// What of the page is kept in this browser, and which version of it this is.
const root = document.documentElement;

// None at an insecure address, and a sandboxed frame may not even ask.
const box = (() => {
  try {
    return navigator.serviceWorker;
  } catch {}
})();

// Where the page requires Trusted Types, which are those of its own policy.
const policy = self.trustedTypes?.createPolicy("muse-page", { createScriptURL: (url) => url });
const trusted = (url) => (policy ? policy.createScriptURL(url) : url);

let forgotten = false; // what was cleared does not come back during this visit

const onServer = async () => (await fetch("precache.json", { cache: "no-store" })).json();

/** Keeps the page for use without network; `renewed` is called when another version of it is there after a reload. */
export async function keepPage(renewed) {
  try {
    let controlled = box.controller;
    box.oncontrollerchange = () => {
      if (controlled) location.reload(); // a page and its parts are of one version
      controlled = true;
    };
    const known = await box.getRegistration();
    // A version that was fetched during an earlier visit takes over where no other tab needs the old one.
    known?.waiting?.postMessage({});
    const { version } = await onServer();
    if (forgotten) return;
    const registration = await box.register(trusted(`sw.js?v=${version}`));
    const watch = ({ installing } = registration) =>
      installing?.addEventListener("statechange", () => installing.state === "installed" && box.controller && renewed());
    registration.onupdatefound = () => watch();
    watch();
  } catch {} // there is none, it is refused, or there is no network
}

/** Keeps further files of the page, such as the WebAssembly that this device needs. True if all of the page is kept then. */
export async function keepFiles(files) {
  if (!box) return false;
  const { active } = await box.ready; // for ever, where nothing is kept
  if (forgotten) return false;
  const { port1, port2 } = new MessageChannel();
  active.postMessage({ files }, [port2]);
  return new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
}

export async function forgetPage() {
  forgotten = true;
  try {
    const registration = await box.getRegistration();
    await registration?.unregister();
    for (const name of await caches.keys()) if (name.startsWith(`muse-page ${new URL("./", document.baseURI).href} `)) await caches.delete(name);
  } catch {} // nothing may be kept here
}

/** Loads the server's version of the page, once, if it is not this one: then true. */
export async function renew() {
  try {
    const { version } = await onServer();
    if (version === root.dataset.version || history.state?.renewed === version) return false;
    await forgetPage();
    history.replaceState({ renewed: version }, "");
    location.reload();
    return true;
  } catch {
    return false;
  }
}
