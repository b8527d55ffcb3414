package wire

// Calls and notifications that the shim sends.
var (
	Initialize = call[InitializeParams, InitializeResult]("initialize",
		"First call on a connection. Refused with kind `version-mismatch` unless version, protocol and manifest hash are those of the sidecar.", early)
	Ping = call[PingParams, PingParams]("ping",
		"Returns its parameters. Health check, and the floor that the benchmarks compare with.")
	Shutdown = call[Empty, ShutdownReport]("shutdown",
		"Runs the ordered shutdown and returns its report. New work is refused from here on.")
	Exit = notice[Empty]("exit",
		"Ends the process after the shutdown, which it runs if nobody asked for it.", early)
	Cancel = notice[CancelParams]("$/cancelRequest",
		"Cancels a request of the sender. The request is answered with code -32800 unless it had already ended.", early)

	WorkspaceOpen = call[WorkspaceOpenParams, WorkspaceOpenResult]("workspace/open",
		"Opens a directory. Opening one again within 10 s of its close re-attaches to it.", ordered)
	WorkspaceClose = call[WorkspaceCloseParams, Empty]("workspace/close",
		"Closes a directory. The sidecar shuts down 10 s after the last close.", ordered)

	ToolCall = call[ToolCallParams, ToolCallResult]("tool/call",
		"Runs one of the tools named in the manifest for a session of OpenCode. Cancelling it is the user's Esc.")

	TaskLaunch = call[TaskLaunchParams, Task]("task/launch",
		"Launches a background task. It is stored before it is acknowledged.")
	TaskGet = call[TaskGetParams, Task]("task/get",
		"Returns one task with its result, or the partial output of a running one.")
	TaskList = call[TaskListParams, TaskListResult]("task/list",
		"Lists tasks, newest first, with totals per state.")
	TaskCancel = call[TaskGetParams, Task]("task/cancel",
		"Cancels a task and returns it once its session has stopped, or says that the stop is unconfirmed.")
	TaskWait = call[TaskWaitParams, Task]("task/wait",
		"Waits until a task has ended or the time is up, and returns it.")

	HookCommand = call[CommandParams, CommandResult]("hook/command",
		"One of our commands is about to run in a session: `command.execute.before` of OpenCode. The answer may replace its text.")
	HookChatMessage = call[ChatMessageParams, Empty]("hook/chat.message",
		"A message is about to be stored in a session: `chat.message` of OpenCode.")
	HookTransform = call[TransformParams, TransformResult]("hook/messages.transform",
		"A turn is about to ask its model: `experimental.chat.messages.transform`. The answer may add text to a message, or ask to be called again (headless: results are on their way).")
	HookCompacting = call[CompactingParams, CompactingResult]("hook/session.compacting",
		"A conversation is about to be summarised: `experimental.session.compacting`. The answer says what the summary must not lose.")
	Event = notice[EventParams]("event",
		"An event of OpenCode's bus, in order; only the types that the manifest names.", ordered)
)

// Calls that the sidecar sends. Path, query and body have the shape of
// OpenCode's own HTTP API, so the shim passes them on as they are.
var (
	HostSessionCreate = call[SessionCreateParams, SessionInfo]("host/session.create",
		"Creates a session.", toHost)
	HostSessionGet = call[SessionPathParams, SessionInfo]("host/session.get",
		"Returns a session.", toHost)
	HostSessionChildren = call[SessionPathParams, []SessionInfo]("host/session.children",
		"Lists the children of a session.", toHost)
	HostSessionPromptAsync = call[SessionPromptParams, Empty]("host/session.promptAsync",
		"Adds a user message with our message id and starts a turn unless `noReply`.", toHost)
	HostSessionAbort = call[SessionPathParams, bool]("host/session.abort",
		"Stops what a session runs.", toHost)
	HostSessionMessages = call[SessionMessagesParams, []MessageWithParts]("host/session.messages",
		"Lists the newest messages of a session, oldest first; parts of types that were not asked for are left out.", toHost)
	HostSessionStatus = call[WorkspaceParams, map[string]SessionStatus]("host/session.status",
		"Maps the sessions that are not idle to their status.", toHost)
	HostSessionTodo = call[SessionPathParams, []Todo]("host/session.todo",
		"Lists the todos of a session.", toHost)
	HostSessionDelete = call[SessionPathParams, bool]("host/session.delete",
		"Deletes a session and its children.", toHost)
	HostAgents = call[WorkspaceParams, []AgentInfo]("host/app.agents",
		"Lists the agents of the workspace.", toHost)
	HostPermissionList = call[WorkspaceParams, []PermissionQuestion]("host/permission.list",
		"Lists the permission questions that nobody has answered.", toHost)
	HostPermissionReply = call[PermissionReplyParams, bool]("host/permission.reply",
		"Answers a permission question.", toHost)
	HostToolAsk = call[ToolAskParams, Empty]("host/tool.ask",
		"Asks OpenCode's permission rules, and the user if they say so, on behalf of a running tool call.", toHost)
	HostToast = call[ToastParams, bool]("host/toast",
		"Shows a toast in the TUI; nothing elsewhere.", toHost)
	HostLog = call[LogParams, bool]("host/log",
		"Writes a line to OpenCode's log file.", toHost)
)

// Methods lists every method, the shim's first, in the order of the reference.
func Methods() []Method {
	return []Method{
		Initialize.Method, Ping.Method, Shutdown.Method, Exit.Method, Cancel.Method,
		WorkspaceOpen.Method, WorkspaceClose.Method,
		ToolCall.Method,
		TaskLaunch.Method, TaskGet.Method, TaskList.Method, TaskCancel.Method, TaskWait.Method,
		HookCommand.Method, HookChatMessage.Method, HookTransform.Method, HookCompacting.Method, Event.Method,
		HostSessionCreate.Method, HostSessionGet.Method, HostSessionChildren.Method,
		HostSessionPromptAsync.Method, HostSessionAbort.Method, HostSessionMessages.Method,
		HostSessionStatus.Method, HostSessionTodo.Method, HostSessionDelete.Method,
		HostAgents.Method, HostPermissionList.Method, HostPermissionReply.Method, HostToolAsk.Method,
		HostToast.Method, HostLog.Method,
	}
}
