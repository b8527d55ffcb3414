// Bundles the plugin into dist/index.js; with --test also every file of test/ into dist/test/.
import { readdirSync } from "node:fs";
import { build } from "esbuild";

const common = { bundle: true, format: "esm", platform: "node", target: ["node20", "es2023"], logLevel: "warning", absWorkingDir: import.meta.dirname };

await build({ ...common, entryPoints: ["src/index.ts"], outfile: "dist/index.js" });
if (process.argv.includes("--test")) {
  const entryPoints = readdirSync(new URL("test", import.meta.url)).filter((name) => name.endsWith(".ts")).map((name) => `test/${name}`);
  // vscode-jsonrpc is CommonJS and asks for node builtins by require.
  const banner = { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' };
  await build({ ...common, entryPoints, outdir: "dist/test", banner });
}
