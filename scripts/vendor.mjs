// Copies the console's third-party assets and their licences into the Python package.
// Run `npm ci && npm run vendor` after a version in package.json changes.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const TARGET = "src/ringroad/http/static/vendor";
const FILES = [
  ["htmx.org", "dist/htmx.min.js", "htmx.min.js"],
  ["htmx.org", "LICENSE", "htmx.LICENSE"],
  ["idiomorph", "dist/idiomorph-ext.min.js", "idiomorph-ext.min.js"],
  ["idiomorph", "LICENSE", "idiomorph.LICENSE"],
  ["echarts", "dist/echarts.common.min.js", "echarts.common.min.js"],
  ["echarts", "LICENSE", "echarts.LICENSE"],
  ["echarts", "NOTICE", "echarts.NOTICE"],
  ["@fontsource-variable/inter", "files/inter-latin-wght-normal.woff2", "inter-latin.woff2"],
  ["@fontsource-variable/inter", "files/inter-latin-ext-wght-normal.woff2", "inter-latin-ext.woff2"],
  ["@fontsource-variable/inter", "LICENSE", "inter.LICENSE"],
];

mkdirSync(TARGET, { recursive: true });
const versions = {};
for (const [name, from, to] of FILES) {
  copyFileSync(join("node_modules", name, from), join(TARGET, to));
  versions[name] = JSON.parse(readFileSync(join("node_modules", name, "package.json"), "utf8")).version;
}
writeFileSync(join(TARGET, "VERSIONS.json"), JSON.stringify(versions, null, 2) + "\n");
