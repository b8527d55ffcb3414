// Timing of calls: one by one, and many in flight.

/** A call to be measured. */
export type Call = () => Promise<unknown>;

/** Returns the time of each of `count` calls made one after the other. */
export async function each(call: Call, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < count; n++) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
  }
  return times;
}

/** Returns how many calls a second end while `inFlight` are always under way. */
export async function rate(call: Call, count: number, inFlight = 64): Promise<number> {
  let left = count;
  const start = performance.now();
  const worker = async () => {
    while (left-- > 0) await call();
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return (count / (performance.now() - start)) * 1000;
}

/** What was measured of one call. */
export interface Measured {
  readonly times: number[];
  readonly rates: number[];
}

/** Measures several calls in turns, so that whatever disturbs the machine disturbs all of them. */
export async function interleaved(all: Record<string, Call>, times: number, rounds: number): Promise<Record<string, Measured>> {
  const results: Record<string, Measured> = {};
  for (const [name, call] of Object.entries(all)) {
    await rate(call, Math.min(2_000, times)); // warms both sides up
    results[name] = { times: [], rates: [] };
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, call] of Object.entries(all)) results[name]!.times.push(...(await each(call, Math.ceil(times / rounds))));
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, call] of Object.entries(all)) results[name]!.rates.push(await rate(call, times / 2));
  }
  return results;
}
