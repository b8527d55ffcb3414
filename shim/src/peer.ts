// One JSON-RPC 2.0 peer. Both sides call, and both can cancel.
import type { ErrorData, Notices, Requests } from "./generated/wire.js";

/** An error answer, received or to be sent. */
export class RpcError extends Error {
  constructor(readonly code: number, message: string, readonly data?: ErrorData) {
    super(message);
  }
}

/** Why a call ended that had a deadline. */
export class Late extends Error {}

/** Answers one call of the other side; the signal aborts when that side cancels it. */
export type Serve = (method: string, params: unknown, signal: AbortSignal) => Promise<unknown>;

type Failure = { code: number; message: string; data?: ErrorData };
type Message = { id?: unknown; method?: string; params?: unknown; result?: unknown; error?: Failure };

/** Runs `work` with a signal that aborts after `ms`, with a `Late`. */
export async function deadline<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new Late(`no answer within ${ms} ms`)), ms);
  return work(stop.signal).finally(() => clearTimeout(timer));
}

/** Settles like `work`, or rejects with the signal's reason as soon as it aborts. */
export function until<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    void work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** A peer on a connection that `send` writes to and that feeds `receive`. */
export class Peer {
  private readonly pending = new Map<unknown, { resolve(result: unknown): void; reject(reason: unknown): void }>();
  private readonly running = new Map<unknown, AbortController>();
  private last = 0;
  private failure: Error | undefined;

  constructor(private readonly send: (json: string) => void, private readonly serve: Serve) {}

  /** Calls the other side. An abort of `signal` cancels the call there and rejects here at once. */
  async request<M extends keyof Requests>(method: M, params: Requests[M]["params"], signal?: AbortSignal): Promise<Requests[M]["result"]> {
    if (this.failure) throw this.failure;
    signal?.throwIfAborted();
    const id = ++this.last;
    this.write({ id, method, params });
    const cancel = () => {
      this.notify("$/cancelRequest", { id });
      this.pending.get(id)?.reject(signal?.reason);
    };
    signal?.addEventListener("abort", cancel);
    try {
      return (await new Promise((resolve, reject) => this.pending.set(id, { resolve, reject }))) as Requests[M]["result"];
    } finally {
      this.pending.delete(id);
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Sends a notification; it is lost when it is over the limit or the connection has failed. */
  notify<M extends keyof Notices>(method: M, params: Notices[M]["params"]): void {
    try {
      this.write({ method, params });
    } catch {}
  }

  /** Ends the connection: every pending call, and every later one, rejects with the reason. */
  fail(reason: Error): void {
    this.failure ??= reason;
    for (const call of this.pending.values()) call.reject(this.failure);
    for (const call of this.running.values()) call.abort(this.failure);
  }

  /** Takes one message from the other side. It throws on one that it cannot read. */
  receive(json: string): void {
    const { id, method, params, result, error } = JSON.parse(json) as Message;
    if (method === "$/cancelRequest") {
      this.running.get((params as Message).id)?.abort(new RpcError(-32800, "cancelled", { kind: "cancelled" }));
    } else if (method !== undefined) {
      if (id !== undefined) void this.answer(id, method, params);
    } else if (error) {
      this.pending.get(id)?.reject(new RpcError(error.code, error.message, error.data));
    } else {
      this.pending.get(id)?.resolve(result);
    }
  }

  private async answer(id: unknown, method: string, params: unknown): Promise<void> {
    const stop = new AbortController();
    this.running.set(id, stop);
    try {
      this.write({ id, result: (await until(stop.signal, this.serve(method, params, stop.signal))) ?? {} });
    } catch (cause) {
      const kind = cause instanceof RangeError ? "too-large" : "internal";
      const { code, message, data } = cause instanceof RpcError ? cause : new RpcError(-32603, String(cause), { kind });
      this.write({ id, error: { code, message, data } });
    }
    this.running.delete(id);
  }

  private write(message: Message): void {
    if (!this.failure) this.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
  }
}
