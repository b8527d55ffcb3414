// From the spawn of the sidecar to its answer to `initialize`, by the shim's own code.
import { Child } from "../src/child.js";
import { MANIFEST_HASH } from "../src/generated/manifest.js";
import { PROTOCOL, VERSION } from "../src/generated/wire.js";
import type { Config } from "./main.js";

/** The handshake that the sidecar accepts. */
export const HANDSHAKE = { version: VERSION, protocol: PROTOCOL, manifestHash: MANIFEST_HASH, host: { pid: process.pid, mode: "other" } };

/** Starts the sidecar `times` times, one after the other. */
export async function starts({ sidecar, times }: Config): Promise<number[]> {
  const took: number[] = [];
  for (let n = 0; n < times; n++) {
    let over = () => {};
    const ended = new Promise<void>((resolve) => (over = resolve));
    const start = performance.now();
    const child = new Child(sidecar, async () => ({}), () => {}, () => over());
    await child.hold(async () => {
      await child.peer.request("initialize", HANDSHAKE);
      took.push(performance.now() - start);
      child.peer.notify("exit", {});
      await ended;
    });
  }
  return took;
}
