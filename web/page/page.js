// The first of the page's scripts, which can tell when another of them does not arrive.
import("./app.js").catch((error) => {
  const status = document.getElementById("status");
  document.documentElement.dataset.state = "failed";
  status.textContent = `${document.getElementById("phrases").dataset.partMissing} (${error.message})`;
});
