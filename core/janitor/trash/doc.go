// Package trash keeps what was taken out of projects for a while, so that it can
// be put back.
//
// A [Trash] is one folder. What one cleaning takes out of one project folder is a
// [Batch]: a folder of its own that holds the copies, under numbers, and an index
// that says what they were. [Trash.Restore] puts a batch back, [Trash.Expire]
// deletes old ones.
//
// The files belong to people, and nothing that happens may lose a byte of them: an
// original goes only when its copy and the copy's line in the index are on the disk,
// and a copy goes only when the file is back on the disk of the project and, unless
// there is no room for it, a second file says so. Whoever is killed in between leaves
// a file in both places, which restoring notices; never one in none.
//
//	<trash>/20261123T230042.123456Z-ABCDEFGHIJ/     a batch: when, and a random name
//	    index.jsonl   what was taken, one line each, the first names the folder
//	    gone.jsonl    the numbers of what is no longer here
//	    1, 2, 3, …    the copies
//	<trash>/20261123T230042.123456Z-ABCDEFGHIJ.lock who holds it works on the batch
//	<trash>/deleting-…                              a batch that is being deleted
//
// What somebody writes into a file that they keep open while it is taken, in the
// instant between the last look at it and its removal, goes with the file; every
// other change is noticed, and the file is left alone.
package trash
