// The recorder: what crosses the pipe, one JSON line each, for the transcripts that the Go tests replay.
import { appendFileSync } from "node:fs";

/** Records fields in JSON, without the braces. */
export type Recorder = (fields: string) => void;

/** Returns a recorder that appends to `file`, or one that does nothing. */
export function recorder(file: string | undefined): Recorder {
  const start = performance.now();
  return (fields) => {
    try {
      if (file) appendFileSync(file, `{"t":${Math.round(performance.now() - start)},${fields}}\n`, { mode: 0o600 }); // it holds prompts
    } catch {} // a recording that cannot be written must not fail the call that it records
  };
}
