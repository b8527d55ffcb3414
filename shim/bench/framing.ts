// The shim's framing and peer beside vscode-jsonrpc, against the same binary.
import { spawn } from "node:child_process";
import { createMessageConnection, StreamMessageReader, StreamMessageWriter } from "vscode-jsonrpc/node";
import { frameReader, frameWriter } from "../src/frame.js";
import { Peer } from "../src/peer.js";
import type { Config } from "./main.js";
import { interleaved, type Measured } from "./measure.js";
import { HANDSHAKE } from "./spawn.js";

/** Measures pings over both. */
export async function framing({ sidecar, times, rounds }: Config): Promise<Record<string, Measured>> {
  const start = () => spawn(sidecar, ["serve"], { stdio: ["pipe", "pipe", "ignore"] });
  const [one, two] = [start(), start()];
  const peer = new Peer(frameWriter((frames) => one.stdin.write(frames)), async () => ({}));
  one.stdout.on("data", frameReader((json) => peer.receive(json)));
  await peer.request("initialize", HANDSHAKE);
  const library = createMessageConnection(new StreamMessageReader(two.stdout), new StreamMessageWriter(two.stdin));
  library.listen();
  await library.sendRequest("initialize", HANDSHAKE);
  const payload = { text: "x".repeat(100) };
  const results = await interleaved({
    "shim": () => peer.request("ping", { payload }),
    "vscode-jsonrpc": () => library.sendRequest("ping", { payload }),
  }, times, rounds);
  library.dispose();
  one.stdin.end();
  two.stdin.end();
  return results;
}
