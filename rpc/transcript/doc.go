// Package transcript reads, writes and replays what crossed the pipe between
// the shim and the sidecar.
//
// A transcript is a text file that shows one behaviour of the two:
//
//	# A background task: launched, ended, and told to the session that asked.
//	# OpenCode 1.18.33
//
//	--> 1 initialize {"version":"<version>",...}
//	<-- 1 {"version":"<version>",...}
//	--> event {"type":"session.idle",...}
//	<-- h1 host/session.create {...}
//	--> h1 {"id":"<session 2>",...}
//	<-- 3 error {"code":-32800,...}
//	--- eof
//
// `-->` is what the shim sends and `<--` what the sidecar sends. A message is a
// call (id, method, parameters), a notification (method, parameters) or an
// answer (id, then the result, or `error` and the error). The shim's calls have
// numbers, the sidecar's an h and a number. Long bodies go on over indented
// lines. `--- eof` says that the shim closed the pipe, after which the sidecar
// has to end by itself, `--- exit` that it ended while the pipe was open. What
// others did has its place among the messages: `--- kill` says that the sidecar was
// killed, and what follows is between the shim and the next one, whose calls go on
// with the numbers; and
//
//	--- file {"path":".opencode/todo.md","text":"- [ ] by hand\n"}
//
// that a person saved a file of the project, which now holds that text.
//
// What differs from run to run is a token: ids are numbered in the order of
// their first appearance (`<session 2>`), while the values of `<time>`,
// `<duration>`, `<dir>` and the like do not matter. Fields that the contract in
// rpc/wire does not name are left out.
//
// [Replay] plays the shim's side against a live sidecar. It says which messages
// must come, in which order, and leaves open what depends on timers: see its
// comment.
package transcript
