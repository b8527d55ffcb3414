// Package proc deals with processes and the trees that grow from them: it starts
// a command so that all of its descendants can be found again, ends a whole tree,
// and ends what a dead process of ours has left running. Nothing is ever
// signalled that is not provably part of such a tree.
//
// # What belongs to a tree (Linux)
//
// A command starts as the leader of a session of its own, with a cookie in its
// environment. To its tree belong the leader and everything that descends from a
// member, everything in a session that a member leads (a process cannot join
// another session, so only the tree made it), and every process that carries the
// cookie. The leader is not reaped while the tree is in use: until then the kernel
// gives its number to no other process, session or group. Every other process is
// known by its number and the tick in which it started, and signalled through a
// pidfd that was checked against both.
//
// A daemon, which makes a session of its own and lets its parent die, is found by
// its cookie. One that has thrown its environment away as well (env -i) becomes a
// child of this process if it adopts orphans ([Keeper.Adopt]), and ends with
// [Keeper.EndOrphans]. Where nobody adopts, after a crash of this process, it
// cannot be told from others and is left alone, as is a process of another user
// that we may not signal.
//
// # Other systems
//
// On macOS and the BSDs a tree is the process group of its leader, on Windows a
// job object; elsewhere it is the process alone. A process that leaves the group
// is not found there, and nothing is found after a crash (Windows ends the job's
// processes by itself).
package proc
