// Measures the shim in the runtime that runs it: server(), framing, and round
// trips to the binary that SIDECAR_BIN names, next to vscode-jsonrpc.
import { spawn } from "node:child_process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createMessageConnection, StreamMessageReader, StreamMessageWriter } from "vscode-jsonrpc/node";
import { MANIFEST_HASH } from "../src/generated/manifest.js";
import { PROTOCOL, VERSION } from "../src/generated/wire.js";
import { frameReader, frameWriter } from "../src/frame.js";
import { Peer } from "../src/peer.js";

const BINARY = process.env.SIDECAR_BIN ?? fileURLToPath(new URL("../../../bin/sidecar", import.meta.url));
const initialize = { version: VERSION, protocol: PROTOCOL, manifestHash: MANIFEST_HASH, host: { pid: process.pid, mode: "other" } };
type Ping = (payload: unknown) => Promise<unknown>;

const lines: string[] = [`runtime: ${process.versions.bun ? `bun ${process.versions.bun}` : `node ${process.versions.node}`}`];

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

async function server(): Promise<void> {
  const importing = performance.now();
  const plugin = ((await import(pathToFileURL(fileURLToPath(new URL("../index.js", import.meta.url))).href)) as { default: { server(input: object): Promise<object> } }).default;
  const imported = performance.now() - importing;
  const times: number[] = [];
  for (let n = 0; n < 200; n++) {
    const start = performance.now();
    await plugin.server({ client: {}, directory: "/", worktree: "/", project: { id: "p" } });
    times.push(performance.now() - start);
  }
  lines.push(`import ${imported.toFixed(2)} ms, server() first ${times[0]!.toFixed(3)} ms, median ${median(times).toFixed(4)} ms`);
}

async function framing(size: number, count: number): Promise<void> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, result: { text: "x".repeat(size) } });
  const frame = Buffer.from(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  const stream = Buffer.concat(Array<Buffer>(Math.max(1, Math.floor((1 << 20) / frame.length))).fill(frame));
  let got = 0;
  const read = frameReader(() => got++);
  const start = performance.now();
  while (got < count) for (let at = 0; at < stream.length; at += 65536) read(stream.subarray(at, at + 65536));
  const seconds = (performance.now() - start) / 1000;
  let written = 0;
  const write = frameWriter((frames) => (written += Buffer.from(frames).length));
  const again = performance.now();
  for (let n = 0; n < got; n++) {
    write(body);
    if (n % 16 === 15) await Promise.resolve(); // sixteen messages to a write
  }
  const out = (performance.now() - again) / 1000;
  lines.push(`frames of ${frame.length} B: read ${Math.round(got / seconds)}/s ${Math.round((got * frame.length) / seconds / 1e6)} MB/s, write ${Math.round(got / out)}/s ${Math.round(written / out / 1e6)} MB/s`);
}

async function calls(name: string, ping: Ping): Promise<void> {
  const payload = { text: "x".repeat(100) };
  for (let n = 0; n < 2000; n++) await ping(payload);
  const times: number[] = [];
  for (let n = 0; n < 5000; n++) {
    const start = performance.now();
    await ping(payload);
    times.push(performance.now() - start);
  }
  const p50 = median(times);
  const start = performance.now();
  let left = 30_000;
  await Promise.all(Array.from({ length: 64 }, async () => {
    while (left-- > 0) await ping(payload);
  }));
  const rate = 30_000 / ((performance.now() - start) / 1000);
  lines.push(`${name}: p50 ${p50.toFixed(3)} ms, p99 ${times[Math.floor(times.length * 0.99)]!.toFixed(3)} ms, ${Math.round(rate)} calls/s with 64 in flight`);
}

type Defer = (flush: () => void) => void;

async function ours(name: string, defer?: Defer): Promise<void> {
  const child = spawn(BINARY, ["serve"], { stdio: ["pipe", "pipe", "ignore"] });
  let queue = "";
  const deferred = (json: string) => {
    if (queue === "")
      defer!(() => {
        child.stdin.write(queue);
        queue = "";
      });
    queue += `Content-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;
  };
  const peer: Peer = new Peer(defer ? deferred : frameWriter((frames) => child.stdin.write(frames)), async () => ({}));
  child.stdout.on("data", frameReader((json) => peer.receive(json)));
  await peer.request("initialize", initialize);
  await calls(name, (payload) => peer.request("ping", { payload }));
  child.stdin.end();
}

async function theirs(): Promise<void> {
  const child = spawn(BINARY, ["serve"], { stdio: ["pipe", "pipe", "ignore"] });
  const connection = createMessageConnection(new StreamMessageReader(child.stdout), new StreamMessageWriter(child.stdin));
  connection.listen();
  await connection.sendRequest("initialize", initialize);
  await calls("vscode-jsonrpc", (payload) => connection.sendRequest("ping", { payload }));
  connection.dispose();
  child.stdin.end();
}

await server();
await framing(100, 200_000);
await framing(2_000, 50_000);
await framing(200_000, 1_000);
await ours("shim, queueMicrotask");
await ours("shim, setImmediate", setImmediate);
await theirs();
process.stdout.write(`${lines.join("\n")}\n`);
process.exit(0);
