// What of OpenCode's objects crosses to the sidecar: the fields of the wire types. The rest can be
// megabytes: what tools have printed and attached, the diffs of a turn, the prompts of agents.
import { createHash } from "node:crypto";
import type { AgentInfo, MessageError, MessageInfo, MessagePart, MessageWithParts, ModelRef, PermissionQuestion, SessionInfo, TokenCounts } from "./generated/wire.js";

/** Every field of T, so that none can be forgotten: `true` keeps a scalar only. A list has the shape of its elements. */
type Shape<T> = T extends (infer E)[] ? Shape<E> : T extends object ? { [K in keyof T]-?: Shape<Exclude<T[K], undefined>> } : true | "whole";
export type Shapes = { [key: string]: Shapes } | true | "whole" | "brief";

const [LONG, MANY] = [200, 20]; // of "brief": the characters of a text, the keys of an object
const responseHeaders = { "retry-after-ms": true, "retry-after": true } as const;
const error: Shape<MessageError> = { name: true, data: { message: true, statusCode: true, isRetryable: true, responseHeaders } };
const tokens: Shape<TokenCounts> = { input: true, output: true, reasoning: true, cache: { read: true, write: true } };
const model: Shape<ModelRef> = { providerID: true, modelID: true, variant: true };
const head = { id: true, sessionID: true, role: true, parentID: true, agent: true, providerID: true, modelID: true, variant: true, finish: true } as const;
const info: Shape<MessageInfo> = { ...head, model, error, tokens, cost: true, summary: true, time: { created: true, completed: true } }; // a summary that is no flag has diffs
const part: Shape<MessagePart> = { id: true, messageID: true, type: true, text: true, synthetic: true, tool: true, callID: true, reason: true, state: { status: true } };
const metadata = { filepath: true, filediff: { file: true }, files: { filePath: true, movePath: true } } as const; // what write, edit and apply_patch have changed
const permission = { permission: true, pattern: true, action: true } as const;
export const AGENT: Shape<AgentInfo> = { name: true, description: true, mode: true, hidden: true, model, permission };
export const EVENT = { info, error, part: { ...part, sessionID: true, state: { status: true, input: "brief", metadata } } } as const;
export const MESSAGE: Shape<MessageWithParts> = { info, parts: part };
export const QUESTION: Shape<PermissionQuestion> = { id: true, sessionID: true, permission: true, patterns: true };
export const SESSION: Shape<SessionInfo> = { id: true, parentID: true, title: true, directory: true, agent: true, permission, metadata: "whole" };

/** Copies what the shape names; of a list, from each element. */
export function pick(shape: Shapes, value: unknown): unknown {
  if (shape === "brief") return brief(value);
  if (Array.isArray(value)) return value.map((one) => pick(shape, one));
  if (shape === "whole" || typeof value !== "object" || value === null) return value;
  if (shape === true) return undefined;
  const kept = Object.entries(shape).map(([key, inner]) => [key, pick(inner, (value as Record<string, unknown>)[key])]);
  return Object.fromEntries(kept.filter(([, one]) => one !== undefined));
}

/** Shortens each argument of a call: to tell calls apart takes the beginning, the length and a hash, not the text. */
function brief(input: unknown): unknown {
  if (typeof input !== "object" || input === null) return shorten(input);
  return Object.fromEntries(Object.entries(input).slice(0, MANY).map(([key, one]) => [key.slice(0, LONG), shorten(one)]));
}

function shorten(value: unknown): unknown {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  if (text.length <= LONG) return value;
  return `${text.slice(0, LONG)}… ${text.length} ${createHash("sha1").update(text).digest("hex").slice(0, 8)}`;
}
