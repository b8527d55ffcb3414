// The sidecar as a process: where its binary is, how it is spawned, how it ended.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, renameSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { frameReader, frameWriter, MAX_FRAME } from "./frame.js";
import type { WorkspaceOpenResult } from "./generated/wire.js";
import { Peer, type Serve } from "./peer.js";
import type { Recorder } from "./record.js";

const stateFile = (name: string) => join(process.env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "opencode-sidecar", name);
/** The file that takes the sidecar's stderr. */
export const logFile = () => stateFile("sidecar.log");
/** Whether a sidecar has ever kept tasks on this machine. */
export const hasTasks = () => {
  const given = process.env.OPENCODE_SIDECAR_STORE ?? "";
  return existsSync(isAbsolute(given) ? given : stateFile("tasks.db")); // the sidecar refuses a relative one
};
const MAX_LOG = 5_000_000; // in bytes; a start that finds more begins a new file and keeps this one as `.1`

/** Finds the binary: the option, the environment, the platform package, the checkout. Throws one sentence that names what was tried. */
export function locate(option: unknown): string {
  const given = option || process.env.OPENCODE_SIDECAR_BIN;
  const file = `bin/sidecar${process.platform === "win32" ? ".exe" : ""}`;
  const packaged = `@opencode-sidecar/${process.platform}-${process.arch}/${file}`;
  let path = given ? String(given) : fileURLToPath(new URL(`../../${file}`, import.meta.url));
  try {
    if (!given) path = createRequire(import.meta.url).resolve(packaged);
  } catch {} // it is not installed, as in a checkout
  if (existsSync(path)) return path;
  const tried = given ? path : `${packaged} or ${path}`;
  const advice = "reinstall opencode-sidecar with its optional dependencies, or set OPENCODE_SIDECAR_BIN to the binary";
  throw new Error(`opencode-sidecar: there is no sidecar binary at ${tried}; ${advice}`);
}

/** One running sidecar. It keeps the host process alive only inside `hold`. */
export class Child {
  readonly peer: Peer;
  /** The opening of each workspace, by its id. */
  readonly opened = new Map<string, Promise<WorkspaceOpenResult>>();
  /** Set when it has missed a deadline, until it answers again. */
  slow = false;
  private readonly process: ChildProcess;
  private holds = 0;
  private why = "";

  /** Spawns the binary. `ended` is called once, just before the pending calls reject. */
  constructor(binary: string, serve: Serve, record: Recorder, ended: (clean: boolean) => void) {
    const log = openLog();
    // The password opens OpenCode's HTTP server; the sidecar reaches OpenCode through us.
    const { OPENCODE_SERVER_PASSWORD: _, ...env } = process.env;
    const child = spawn(binary, ["serve"], { detached: true, stdio: ["pipe", "pipe", log], env, windowsHide: true });
    this.process = child;
    if (typeof log === "number") closeSync(log);
    record(`"note":"spawn","pid":${child.pid ?? 0}`);
    const write = frameWriter((frames) => child.stdin!.write(frames));
    this.peer = new Peer((json) => {
      write(json);
      record(`"dir":"out","msg":${json}`);
    }, serve);
    const read = frameReader((json) => {
      this.peer.receive(json);
      record(`"dir":"in","msg":${json}`);
    });
    child.stdin!.on("error", (cause) => this.kill(cause.message));
    child.stdout!.on("data", (chunk: Buffer) => {
      try {
        read(chunk);
      } catch (cause) {
        this.kill(`it broke the protocol: ${String(cause)}`);
      }
    });
    let over = false;
    const end = (code: number | null, signal: string | null, how = signal ? `signal ${signal}` : `exit code ${code}`) => {
      if (over) return;
      over = true;
      record(`"note":"exit","how":${JSON.stringify(how)}`);
      ended(code === 0);
      const text = `the sidecar stopped unexpectedly (${how}${this.why && `, ${this.why}`}) while this call was running; it restarts with the next call`;
      this.peer.fail(new Error(`opencode-sidecar: ${text}`));
    };
    child.on("error", (cause) => end(null, null, cause.message));
    child.on("close", end);
    // Answers can still be in the pipe now, but "close" may never come: a grandchild can hold the pipe.
    child.on("exit", (code, signal) => setTimeout(end, 50, code, signal));
    this.reference("unref");
  }

  /** Runs `work` and keeps the host process alive meanwhile. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    if (this.holds++ === 0) this.reference("ref");
    return work().finally(() => --this.holds === 0 && this.reference("unref"));
  }

  /** Whether so much waits to be written that hints are better dropped. */
  full = () => this.process.stdin!.writableLength > MAX_FRAME;

  /** Kills a sidecar that cannot be talked to; the callers are told why. */
  kill(why: string): void {
    this.why ||= why;
    this.process.kill("SIGKILL");
  }

  private reference(verb: "ref" | "unref"): void {
    // The pipes have these methods too, which their types leave out.
    for (const handle of [this.process, this.process.stdin, this.process.stdout] as Partial<ChildProcess>[]) handle[verb]?.();
  }
}

function openLog(): number | "ignore" {
  const file = logFile();
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG) renameSync(file, `${file}.1`);
    return openSync(file, "a", 0o600);
  } catch {
    return "ignore";
  }
}
