// The part of the benchmark that runs where the shim runs. `make bench` bundles
// it, starts it with OpenCode's own runtime as `<part> <config>`, and reads one
// JSON value from its stdout. Times are in milliseconds.
import { calls } from "./calls.js";
import { framing } from "./framing.js";
import { hooks } from "./hooks.js";
import { plugin } from "./plugin.js";
import { starts } from "./spawn.js";

/** What the Go side hands over. */
export interface Config {
  /** The sidecar's binary, and the bundled plugin. */
  readonly sidecar: string;
  readonly plugin: string;
  /** A program that, with the variable `echoEnv` set, is a plain jsonrpc2 server. */
  readonly echo: string;
  readonly echoEnv: string;
  /** How often to repeat. */
  readonly times: number;
  readonly rounds: number;
  /** Worktrees with a todo.md: of 10,000 lines, and of 100 items. */
  readonly quiet: string;
  readonly own: string;
}

const parts: Record<string, (config: Config) => Promise<unknown>> = { calls, framing, hooks, plugin, starts };
const [part = "", config = "{}"] = process.argv.slice(2);
const answer = JSON.stringify(await parts[part]!(JSON.parse(config) as Config));
process.stdout.write(answer, () => process.exit(0)); // what is still on its way into a pipe would be lost
