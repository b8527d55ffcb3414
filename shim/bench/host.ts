// OpenCode as the shim sees it, in memory: every prompt is answered at once.
import type { Client } from "../src/host.js";

/** Returns a client whose sessions are idle as soon as `idle` has been told so; those named in `busy` never are. */
export function client(idle: (sessionID: string) => void, busy: readonly string[] = []): Client {
  const prompts = new Map<string, object[]>();
  let last = 0;
  type Options = { path?: { id: string }; body?: { messageID?: string } };
  const answer = (work: (options: Options) => unknown) => async (options: object) => ({ data: work(options as Options) });
  const session = (id: string) => ({ id, title: "bench", directory: "/bench" });
  return {
    session: {
      create: answer(() => session(`ses_${++last}`)),
      get: answer(({ path }) => session(path!.id)),
      children: answer(() => []),
      promptAsync: answer(({ path, body }) => {
        const [sessionID, parentID] = [path!.id, body!.messageID!];
        const time = { created: Date.now(), completed: Date.now() };
        prompts.set(sessionID, [
          { info: { id: parentID, sessionID, role: "user", time }, parts: [] },
          { info: { id: `msg_answer_${parentID}`, sessionID, role: "assistant", parentID, finish: "stop", time }, parts: [{ type: "text", text: "done" }] },
        ]);
        setTimeout(idle, 0, sessionID);
        return {};
      }),
      abort: answer(() => true),
      messages: answer(({ path }) => prompts.get(path!.id) ?? []),
      status: answer(() => Object.fromEntries(busy.map((id) => [id, { type: "busy" }]))),
      todo: answer(() => []),
      delete: answer(() => true),
    },
    app: { agents: answer(() => [{ name: "general", mode: "subagent" }]), log: answer(() => true) },
    tui: { showToast: answer(() => true) },
    postSessionIdPermissionsPermissionId: answer(() => true),
    _client: { get: answer(() => []) },
  };
}
