// What of OpenCode's objects crosses to the sidecar: the fields of the wire types. The rest can be
// megabytes: what tools have printed and attached, the diffs of a turn, the prompts of agents.
import type { AgentInfo, MessageError, MessageInfo, MessagePart, MessageWithParts, ModelRef, SessionInfo } from "./generated/wire.js";

/** Every field of T, so that none can be forgotten: `true` keeps a scalar only. A list has the shape of its elements. */
type Shape<T> = T extends (infer E)[] ? Shape<E> : T extends object ? { [K in keyof T]-?: Shape<Exclude<T[K], undefined>> } : true | "whole";
export type Shapes = { [key: string]: Shapes } | true | "whole";

const error: Shape<MessageError> = { name: true, data: { message: true, statusCode: true } };
const model: Shape<ModelRef> = { providerID: true, modelID: true, variant: true };
const head = { id: true, sessionID: true, role: true, parentID: true, agent: true, providerID: true, modelID: true, variant: true, finish: true } as const;
const info: Shape<MessageInfo> = { ...head, model, error, summary: true, time: { created: true, completed: true } }; // a summary that is no flag has diffs
const part: Shape<MessagePart> = { id: true, messageID: true, type: true, text: true, synthetic: true, tool: true, reason: true, state: { status: true } };
const permission = { permission: true, pattern: true, action: true } as const;
export const AGENT: Shape<AgentInfo> = { name: true, description: true, mode: true, hidden: true, model };
export const EVENT = { info, error, part: { ...part, sessionID: true } } as const;
export const MESSAGE: Shape<MessageWithParts> = { info, parts: part };
export const SESSION: Shape<SessionInfo> = { id: true, parentID: true, title: true, directory: true, agent: true, permission, metadata: "whole" };

/** Copies what the shape names; of a list, from each element. */
export function pick(shape: Shapes, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((one) => pick(shape, one));
  if (shape === "whole" || typeof value !== "object" || value === null) return value;
  if (shape === true) return undefined;
  const kept = Object.entries(shape).map(([key, inner]) => [key, pick(inner, (value as Record<string, unknown>)[key])]);
  return Object.fromEntries(kept.filter(([, one]) => one !== undefined));
}
