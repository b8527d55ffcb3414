// Package mission drives a session to the end of its todo list.
//
// A person begins a mission with /task. Whenever the session then comes to rest
// while items of .opencode/todo.md are open and no task of it runs, the [Driver]
// sends it a short message to go on, after a countdown that any word of the person
// cancels. It stops when the list and its gates are complete, and at every sign
// that going on would be wrong: the person said so, a turn was aborted, the agent
// asks something, nothing comes of the turns any more, or a limit is reached.
//
// A mission is durable. It belongs to one OpenCode process: a sidecar that takes
// the place of another goes on at once; after the end of OpenCode it goes on with
// the person's next message in its session, for nobody asked for a paid turn
// before.
//
// One goroutine looks after an active mission and is the only one that sends;
// Driver.Run waits for it. A mission that is paused or over costs none.
package mission
