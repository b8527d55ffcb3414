// Content-Length framing, as LSP has it.

/** The largest body that either side accepts, in bytes. */
export const MAX_FRAME = 32 << 20;
const MAX_HEADER = 1024;

/** Returns the function that takes chunks and hands every whole body to `emit`, in order. It throws on a stream that it cannot follow. */
export function frameReader(emit: (body: string) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let have = 0;
  let need = 1; // below this many bytes there is nothing to be done, so that each byte is joined once

  return (chunk) => {
    parts.push(chunk);
    have += chunk.length;
    if (have < need) return;
    const all = parts.length === 1 ? chunk : Buffer.concat(parts);
    let at = 0;
    for (;;) {
      const end = all.indexOf("\r\n\r\n", at, "latin1");
      if ((end < 0 ? all.length : end) - at > MAX_HEADER) throw new Error("a frame header has no end");
      const next = end < 0 ? all.length + 1 : end + 4 + bodySize(all.toString("latin1", at, end));
      need = next - at;
      if (next > all.length) break;
      emit(all.toString("utf8", end + 4, next));
      at = next;
    }
    parts = at < all.length ? [all.subarray(at)] : [];
    have = all.length - at;
  };
}

function bodySize(header: string): number {
  const size = Number(/^content-length:[ \t]*(\d+)[ \t]*$/im.exec(header)?.[1]);
  if (Number.isNaN(size)) throw new Error("a frame has no Content-Length");
  if (size > MAX_FRAME) throw new Error(`a frame of ${size} bytes is over the limit of ${MAX_FRAME}`);
  return size;
}

/** Returns the function that frames bodies; those of one turn of the event loop leave in one `write`. It throws on a body over the limit. */
export function frameWriter(write: (frames: string) => void): (body: string) => void {
  const queue: string[] = [];
  const flush = () => write(queue.splice(0).join(""));
  return (body) => {
    const size = Buffer.byteLength(body);
    if (size > MAX_FRAME) throw new RangeError(`the message has ${size} bytes, over the limit of ${MAX_FRAME}`);
    if (queue.push(`Content-Length: ${size}\r\n\r\n${body}`) === 1) queueMicrotask(flush);
  };
}
