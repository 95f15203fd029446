// Makes every script of a folder smaller, in its place: file by file, so that names and addresses stay as they are.
// Usage: node minify.mjs FOLDER, where node finds vite.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { minify } from "vite";

const folder = process.argv[2];
for (const name of readdirSync(folder, { recursive: true })) {
  if (!name.endsWith(".js")) continue;
  const file = join(folder, name);
  const { code, errors } = await minify(name, readFileSync(file, "utf8"), { module: true });
  if (errors.length > 0) {
    console.error(file, ...errors.map((error) => error.message));
    process.exit(1);
  }
  writeFileSync(file, code);
}
