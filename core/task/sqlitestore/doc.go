// Package sqlitestore keeps tasks in a SQLite database: the durable Store.
//
// What Create or Update has acknowledged survives SIGKILL of every process and
// a loss of power (write-ahead log, synchronous=FULL). Any number of processes
// share one database. In each, one goroutine owns the only connection that
// writes: it takes all writes that wait into one transaction, commits once and
// then answers them, so that a burst costs few flushes and a single write waits
// for nobody. Lists are answered from memory until any process commits something;
// what is read is never older than that. Nothing runs while nothing is asked for.
//
// The records of other rooms of the core share the file, the writer and what is
// promised of it: see Store.Records.
//
// The records of other rooms of the core (core/record) share the file, the writer
// and the promises: see Store.Records.
//
// A file that turns out to be damaged is set aside under another name, what can
// still be read of it is taken over, and the work goes on in a fresh file.
package sqlitestore
