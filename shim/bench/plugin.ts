// What the plugin costs on OpenCode's start path: the import and server().
import { readdirSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { client } from "./host.js";
import type { Config } from "./main.js";

interface Module {
  default: { server(input: object): Promise<Record<string, unknown>> };
}

/** Measures the import, the first call, and `times` calls of server(). */
export async function plugin({ plugin: file, times }: Config) {
  const start = performance.now();
  const { server } = ((await import(pathToFileURL(file).href)) as Module).default;
  const imported = performance.now() - start;
  const input = (n: number) => ({ client: client(() => {}), directory: `/bench/${n}`, worktree: `/bench/${n}`, project: { id: "bench" } });
  const calls: number[] = [];
  for (let n = 0; n < times; n++) {
    const at = performance.now();
    await server(input(n));
    calls.push(performance.now() - at);
  }
  return { imported, calls, turns: await turns(() => server(input(times))), children: children() };
}

/** Counts the turns of the microtask queue until the promise of `work` is seen settled: 0 if it awaits nothing. */
async function turns(work: () => Promise<unknown>): Promise<number> {
  let [count, over] = [0, false];
  const done = work().then(() => void (over = true));
  const tick = () => {
    if (over) return;
    count++;
    queueMicrotask(tick);
  };
  queueMicrotask(tick);
  await done;
  return count;
}

/** Counts the child processes of this one. */
function children(): number {
  const parents = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map((pid) => {
    try {
      return Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "latin1"))?.[1]);
    } catch {
      return 0; // ended meanwhile
    }
  });
  return parents.filter((parent) => parent === process.pid).length;
}
