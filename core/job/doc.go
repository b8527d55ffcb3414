// Package job runs background commands: shell lines that go on while the model
// does something else, with their output kept in bounded memory, their input
// open, and their whole process tree ended when they are.
//
// # When a command is over
//
// A command runs as long as its shell does, or anybody who has inherited its
// output: `server &` runs until the server ends. Its exit is the shell's. A daemon
// that has let go of the output does not keep it running; it is counted in
// Job.Left, stays ours, and ends with Kill, with Stop, or with the sweep after a
// crash.
//
// # Goroutines
//
// A command that waits for a place costs none. One that runs has a few, which
// sleep in the kernel until something happens; nothing is polled. The engine owns
// them: Run returns when all have ended.
package job
