// The agents of a project's own that .opencode/agents.json describes, in the format that it has always had.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** An agent as OpenCode's configuration has it. */
export type Agent = { [key: string]: unknown; prompt?: string; permission?: Record<string, unknown>; options?: Record<string, unknown> };
type Entry = Readonly<Record<string, unknown>>;

const FILE = ".opencode/agents.json";
const MAX_FILE = 256 << 10; // in bytes
const NATIVE = ["build", "plan", "general", "explore", "title", "summary", "compaction"];
const MAX_NAME = 64; // in characters
const NAME = /^[\p{L}\p{N}][\p{L}\p{N} _./-]*$/u;
const NEEDED = { description: "string", systemPrompt: "string", canWrite: "boolean", canBash: "boolean" };
const TYPES = { ...NEEDED, mode: "string", color: "string", hidden: "boolean", thinking: "boolean", budgetTokens: "number", maxTokens: "number" };
const COLOR = /^(#[0-9a-f]{6}|primary|secondary|accent|success|warning|error|info)$/i;

/** Reads the agents of a project, by name. What is wrong is told and left out; a file that is not there is nothing. */
export async function custom(directory: string, warn: (text: string) => void): Promise<[string, Agent][]> {
  try {
    return entries(await read(join(directory, FILE))).flatMap(([name, entry]) => {
      const wrong = mistake(name, entry);
      const called = JSON.stringify(name)?.slice(0, MAX_NAME + 2) ?? "without an id";
      if (wrong) warn(`${FILE}: the agent ${called} is left out: ${wrong}`);
      else if (entry.maxTokens !== undefined) warn(`${FILE}: maxTokens of the agent ${called} has no effect, because OpenCode has no such limit for an agent`);
      return wrong ? [] : [[name as string, agent(entry)]];
    });
  } catch (cause) {
    warn(`${FILE} is ignored: ${cause instanceof SyntaxError ? `it is not JSON (${cause.message})` : (cause as Error).message}`);
    return [];
  }
}

async function read(path: string): Promise<string | undefined> {
  const file = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT" || cause.code === "ENOTDIR") return undefined;
    throw cause;
  });
  if (file && !file.isFile()) throw new Error("it is not a regular file"); // to read a pipe could take for ever
  if (file && file.size > MAX_FILE) throw new Error(`it has ${file.size} bytes, over the limit of ${MAX_FILE}`);
  return file ? readFile(path, "utf8") : undefined;
}

/** An object has its agents by name; in a list each has its name as id. */
function entries(text = "{}"): [unknown, Entry][] {
  const content: unknown = JSON.parse(text);
  if (typeof content !== "object" || !content) throw new Error("it is neither an object nor a list of agents");
  if (!Array.isArray(content)) return Object.entries(content).map(([name, one]) => [name, Object(one) as Entry]);
  return content.map((one): [unknown, Entry] => [Object(one).id, Object(one) as Entry]);
}

/** Says what is wrong with an entry. One that OpenCode does not accept would make it refuse to list any agent. */
function mistake(name: unknown, entry: Entry): string | undefined {
  if (typeof name !== "string" || !NAME.test(name) || name.length > MAX_NAME || name in {})
    return `its name must begin with a letter or digit, and have only these, spaces and _ . / - up to ${MAX_NAME} in all`;
  if (NATIVE.includes(name)) return "OpenCode has an agent of this name itself";
  for (const [key, type] of Object.entries(TYPES)) if (typeof entry[key] !== type && (entry[key] !== undefined || key in NEEDED)) return `${key} must be a ${type}`;
  const { systemPrompt, mode = "subagent", color = "info" } = entry as Record<string, string>;
  if (!systemPrompt) return "systemPrompt is empty";
  if (mode !== "subagent" && mode !== "primary") return "mode must be primary or subagent";
  return COLOR.test(color) ? undefined : "color must be #rrggbb or a color of the theme, such as accent";
}

/** Translates an entry. Options go to the model's provider as they are: there thinking has a place, and maxTokens has none. */
function agent({ description, systemPrompt, mode = "subagent", color, hidden, thinking, budgetTokens, canWrite, canBash }: Entry): Agent {
  const thinks = thinking ?? budgetTokens !== undefined;
  return {
    description, mode, prompt: systemPrompt as string, ...(color !== undefined && { color }), ...(hidden !== undefined && { hidden }),
    permission: { ...(!canWrite && { edit: "deny" }), ...(!canBash && { bash: "deny" }) },
    options: { ...(thinks && { thinking: { type: "enabled", ...(budgetTokens !== undefined && { budgetTokens }) } }) },
  };
}
