// Generated from rpc/wire by `make generate`. Do not edit.

export const VERSION = "0.1.0";
export const PROTOCOL = 1;

export interface AgentInfo {
  name: string;
  description?: string;
  /** primary | subagent | all */
  mode?: string;
  hidden?: boolean;
  /** the agent's own model */
  model?: ModelRef;
  /** later rules win */
  permission?: PermissionRule[];
}

export interface AppendText {
  messageID: string;
  text: string;
}

export interface CacheCounts {
  read?: number;
  write?: number;
}

export interface CancelParams {
  /** the id of the request, a string or a number */
  id: unknown;
}

export interface ChatMessageParams {
  workspace: string;
  sessionID: string;
  messageID?: string;
  agent?: string;
}

export interface CommandParams {
  workspace: string;
  /** the name, without the slash */
  command: string;
  sessionID: string;
  /** what stands behind the name, line breaks included */
  arguments: string;
}

export interface CommandResult {
  /** in place of the command's own text */
  text?: string;
}

export interface CompactingParams {
  workspace: string;
  sessionID: string;
}

export interface CompactingResult {
  /** paragraphs for the request of the summary */
  context?: string[];
}

export type Empty = Record<string, never>;

export interface ErrorData {
  kind: string;
  /** the parameter that is wrong */
  field?: string;
  /** HTTP status of a failed call to OpenCode */
  status?: number;
  /** OpenCode's own name of the error */
  name?: string;
}

export interface EventParams {
  workspace: string;
  type: string;
  properties?: unknown;
}

export interface HostInfo {
  pid: number;
  /** run | serve | tui | other; run ends at the main session's first idle */
  mode: string;
  /** how many sidecars of this process died before this one */
  restarts?: number;
}

export interface InitializeParams {
  /** version of the shim */
  version: string;
  protocol: number;
  /** hash of the manifest that the shim was built with */
  manifestHash: string;
  host: HostInfo;
}

export interface InitializeResult {
  version: string;
  protocol: number;
  manifestHash: string;
  pid: number;
}

export interface LogBody {
  service: string;
  /** debug | info | warn | error */
  level: string;
  message: string;
  extra?: Record<string, unknown>;
}

export interface LogParams {
  workspace: string;
  body: LogBody;
}

export interface MessageError {
  name: string;
  data: { message?: string; statusCode?: number; isRetryable?: boolean; responseHeaders?: RetryHeaders };
}

export interface MessageInfo {
  id: string;
  sessionID: string;
  /** user | assistant */
  role: string;
  /** assistant: the user message it answers */
  parentID?: string;
  agent?: string;
  /** user messages */
  model?: ModelRef;
  /** assistant messages */
  providerID?: string;
  /** assistant messages */
  modelID?: string;
  variant?: string;
  finish?: string;
  /** assistant: true for a compaction summary */
  summary?: unknown;
  error?: MessageError;
  /** assistant: US dollars for this message */
  cost?: number;
  /** assistant: of this message */
  tokens?: TokenCounts;
  time: MessageTime;
}

export interface MessagePart {
  id?: string;
  messageID?: string;
  type: string;
  text?: string;
  synthetic?: boolean;
  tool?: string;
  /** tool */
  callID?: string;
  /** step-finish */
  reason?: string;
  state?: ToolState;
}

export interface MessageTime {
  created?: number;
  completed?: number;
}

export interface MessageWithParts {
  info: MessageInfo;
  parts: MessagePart[];
}

export interface MessagesQuery {
  limit?: number;
}

export interface ModelRef {
  providerID: string;
  modelID: string;
  variant?: string;
}

export interface PermissionQuestion {
  id: string;
  sessionID: string;
  permission: string;
  patterns?: string[];
}

export interface PermissionReplyBody {
  /** once | always | reject */
  response: string;
}

export interface PermissionReplyParams {
  workspace: string;
  path: PermissionReplyPath;
  body: PermissionReplyBody;
}

export interface PermissionReplyPath {
  /** the session */
  id: string;
  permissionID: string;
}

export interface PermissionRule {
  permission: string;
  pattern: string;
  /** allow | ask | deny */
  action: string;
}

export interface PingParams {
  payload?: unknown;
}

export interface RetryHeaders {
  "retry-after-ms"?: string;
  /** seconds or an HTTP date */
  "retry-after"?: string;
}

export interface SessionCreateBody {
  parentID?: string;
  title?: string;
  agent?: string;
  metadata?: Record<string, string>;
  permission?: PermissionRule[];
}

export interface SessionCreateParams {
  workspace: string;
  body: SessionCreateBody;
}

export interface SessionInfo {
  id: string;
  parentID?: string;
  title?: string;
  directory?: string;
  agent?: string;
  permission?: PermissionRule[];
  metadata?: unknown;
}

export interface SessionMessagesParams {
  workspace: string;
  path: SessionPath;
  query: MessagesQuery;
  /** part types to keep */
  parts?: string[];
}

export interface SessionPath {
  id: string;
}

export interface SessionPathParams {
  workspace: string;
  path: SessionPath;
}

export interface SessionPromptBody {
  messageID: string;
  agent?: string;
  model?: ModelRef;
  variant?: string;
  system?: string;
  noReply?: boolean;
  parts: TextPart[];
}

export interface SessionPromptParams {
  workspace: string;
  path: SessionPath;
  body: SessionPromptBody;
}

export interface SessionStatus {
  /** busy | retry */
  type: string;
  message?: string;
  attempt?: number;
}

export interface ShutdownPhase {
  name: string;
  priority: number;
  tookMs: number;
  /** ok | error | panic | timeout | skipped */
  outcome: string;
  error?: string;
}

export interface ShutdownReport {
  reason: string;
  tookMs: number;
  phases: ShutdownPhase[];
  /** handlers that the total budget left no time for */
  skipped?: number;
}

export interface Task {
  /** task_ and 8 hex digits */
  id: string;
  description?: string;
  agent: string;
  /** pending | running | completed | error | timeout | cancelled | interrupted */
  state: string;
  /** running, but OpenCode shows neither work nor an answer */
  uncertain?: boolean;
  attempt: number;
  depth: number;
  background: boolean;
  group?: string;
  parentSession: string;
  /** the child session */
  session?: string;
  /** place in the queue, from 1 */
  position?: number;
  /** what it waits for a person to permit */
  asks?: string;
  /** open in another OpenCode process */
  elsewhere?: boolean;
  /** race | fractal; normal when left out */
  mode?: string;
  /** high | low; normal when left out */
  priority?: string;
  /** all | none; each when left out */
  wake?: string;
  /** provider/model */
  model?: string;
  /** its parent has the outcome */
  told?: boolean;
  created: number;
  started?: number;
  ended?: number;
  /** the answer, or so far the partial output; left out in lists */
  result?: string;
  error?: string;
  /** what else its parent should know */
  note?: string;
  /** all kinds together */
  tokens?: number;
  /** US dollars */
  cost?: number;
}

export interface TaskGetParams {
  id: string;
}

export interface TaskLaunchParams {
  workspace: string;
  parentSession: string;
  agent: string;
  description: string;
  prompt: string;
  group?: string;
  /** normal | race | fractal */
  mode?: string;
  /** high | normal | low */
  priority?: string;
  /** each | all | none */
  wake?: string;
  /** id of the task, or of its session, that goes on with this prompt */
  resume?: string;
}

export interface TaskListParams {
  workspace?: string;
  parentSession?: string;
  state?: string;
  /** at most 500; 50 when left out */
  limit?: number;
}

export interface TaskListResult {
  tasks: Task[];
  totals: Record<string, number>;
}

export interface TaskWaitParams {
  id: string;
  /** 0 waits as long as the caller does */
  timeoutMs?: number;
}

export interface TextPart {
  /** text */
  type: string;
  text: string;
  /** not typed by a person */
  synthetic?: boolean;
}

export interface ToastBody {
  title?: string;
  message: string;
  /** info | success | warning | error */
  variant: string;
  /** milliseconds */
  duration?: number;
}

export interface ToastParams {
  workspace: string;
  body: ToastBody;
}

export interface Todo {
  content: string;
  status: string;
  priority: string;
}

export interface TokenCounts {
  input?: number;
  output?: number;
  reasoning?: number;
  cache: CacheCounts;
}

export interface ToolAskParams {
  callID: string;
  permission: string;
  patterns: string[];
  always: string[];
  metadata: Record<string, unknown>;
}

export interface ToolCallParams {
  workspace: string;
  tool: string;
  args: unknown;
  sessionID: string;
  messageID: string;
  callID?: string;
  agent: string;
}

export interface ToolCallResult {
  title?: string;
  output: string;
  metadata?: Record<string, unknown>;
}

export interface ToolState {
  /** pending | running | completed | error */
  status: string;
}

export interface TransformParams {
  workspace: string;
  sessionID: string;
  /** the last user message */
  messageID: string;
}

export interface TransformResult {
  append?: AppendText[];
  /** results are on their way: hold the turn and call again */
  again?: boolean;
}

export interface WorkspaceCloseParams {
  workspace: string;
}

export interface WorkspaceOpenParams {
  /** id chosen by the shim, unique in its process */
  workspace: string;
  directory: string;
  worktree?: string;
  /** OpenCode's project id; clones of one repository share it */
  project?: string;
  /** second element of the plugin tuple */
  options?: unknown;
}

export interface WorkspaceOpenResult {
  /** the directory was open, or closed less than 10 s ago */
  reattached: boolean;
  /** options that were ignored, and why */
  warnings?: string[];
}

export interface WorkspaceParams {
  workspace: string;
}

/** Calls that the shim sends. */
export interface Requests {
  /** First call on a connection. Refused with kind `version-mismatch` unless version, protocol and manifest hash are those of the sidecar. */
  "initialize": { params: InitializeParams; result: InitializeResult };
  /** Returns its parameters. Health check, and the floor that the benchmarks compare with. */
  "ping": { params: PingParams; result: PingParams };
  /** Runs the ordered shutdown and returns its report. New work is refused from here on. */
  "shutdown": { params: Empty; result: ShutdownReport };
  /** Opens a directory. Opening one again within 10 s of its close re-attaches to it. */
  "workspace/open": { params: WorkspaceOpenParams; result: WorkspaceOpenResult };
  /** Closes a directory. The sidecar shuts down 10 s after the last close. */
  "workspace/close": { params: WorkspaceCloseParams; result: Empty };
  /** Runs one of the tools named in the manifest for a session of OpenCode. Cancelling it is the user's Esc. */
  "tool/call": { params: ToolCallParams; result: ToolCallResult };
  /** Launches a background task. It is stored before it is acknowledged. */
  "task/launch": { params: TaskLaunchParams; result: Task };
  /** Returns one task with its result, or the partial output of a running one. */
  "task/get": { params: TaskGetParams; result: Task };
  /** Lists tasks, newest first, with totals per state. */
  "task/list": { params: TaskListParams; result: TaskListResult };
  /** Cancels a task and returns it once its session has stopped, or says that the stop is unconfirmed. */
  "task/cancel": { params: TaskGetParams; result: Task };
  /** Waits until a task has ended or the time is up, and returns it. */
  "task/wait": { params: TaskWaitParams; result: Task };
  /** One of our commands is about to run in a session: `command.execute.before` of OpenCode. The answer may replace its text. */
  "hook/command": { params: CommandParams; result: CommandResult };
  /** A message is about to be stored in a session: `chat.message` of OpenCode. */
  "hook/chat.message": { params: ChatMessageParams; result: Empty };
  /** A turn is about to ask its model: `experimental.chat.messages.transform`. The answer may add text to a message, or ask to be called again (headless: results are on their way). */
  "hook/messages.transform": { params: TransformParams; result: TransformResult };
  /** A conversation is about to be summarised: `experimental.session.compacting`. The answer says what the summary must not lose. */
  "hook/session.compacting": { params: CompactingParams; result: CompactingResult };
}

/** Calls that the sidecar sends. */
export interface HostRequests {
  /** Creates a session. */
  "host/session.create": { params: SessionCreateParams; result: SessionInfo };
  /** Returns a session. */
  "host/session.get": { params: SessionPathParams; result: SessionInfo };
  /** Lists the children of a session. */
  "host/session.children": { params: SessionPathParams; result: SessionInfo[] };
  /** Adds a user message with our message id and starts a turn unless `noReply`. */
  "host/session.promptAsync": { params: SessionPromptParams; result: Empty };
  /** Stops what a session runs. */
  "host/session.abort": { params: SessionPathParams; result: boolean };
  /** Lists the newest messages of a session, oldest first; parts of types that were not asked for are left out. */
  "host/session.messages": { params: SessionMessagesParams; result: MessageWithParts[] };
  /** Maps the sessions that are not idle to their status. */
  "host/session.status": { params: WorkspaceParams; result: Record<string, SessionStatus> };
  /** Lists the todos of a session. */
  "host/session.todo": { params: SessionPathParams; result: Todo[] };
  /** Deletes a session and its children. */
  "host/session.delete": { params: SessionPathParams; result: boolean };
  /** Lists the agents of the workspace. */
  "host/app.agents": { params: WorkspaceParams; result: AgentInfo[] };
  /** Lists the permission questions that nobody has answered. */
  "host/permission.list": { params: WorkspaceParams; result: PermissionQuestion[] };
  /** Answers a permission question. */
  "host/permission.reply": { params: PermissionReplyParams; result: boolean };
  /** Asks OpenCode's permission rules, and the user if they say so, on behalf of a running tool call. */
  "host/tool.ask": { params: ToolAskParams; result: Empty };
  /** Shows a toast in the TUI; nothing elsewhere. */
  "host/toast": { params: ToastParams; result: boolean };
  /** Writes a line to OpenCode's log file. */
  "host/log": { params: LogParams; result: boolean };
}

/** Notifications that the shim sends. */
export interface Notices {
  /** Ends the process after the shutdown, which it runs if nobody asked for it. */
  "exit": { params: Empty };
  /** Cancels a request of the sender. The request is answered with code -32800 unless it had already ended. */
  "$/cancelRequest": { params: CancelParams };
  /** An event of OpenCode's bus, in order; only the types that the manifest names. */
  "event": { params: EventParams };
}
