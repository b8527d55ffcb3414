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
// Where version 2 of control groups is mounted and this process may make groups
// next to itself, a command is also born into a group of its own, named after the
// cookie, and everything in that group or in one below it belongs to its tree: a
// process is in it because it was born there, or because somebody moved it there
// who may end it as well. One that is older than the leader was moved, and is left
// alone. A group is only used if its directory has the cookie's name, was made by
// this user and lies within a mounted hierarchy, and goes with its last process.
// Where groups cannot be made nothing else changes.
//
// A daemon, which makes a session of its own and lets its parent die, is found by
// its cookie. One that has thrown its environment away as well (env -i) is found by
// its group, by [Keeper.Sweep] too. Without a group it becomes a child of this
// process if that adopts orphans ([Keeper.Adopt]), and ends with
// [Keeper.EndOrphans]; where nobody adopts, after a crash of this process, it
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
