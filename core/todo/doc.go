// Package todo reads and edits one Markdown file, .opencode/todo.md, which
// people, agents and OpenCode write at the same time.
//
// [Parse] is the only reader of its grammar: list items with a box, in any
// bullet and nesting, found by a CommonMark parser, so that a box in a code
// block or a comment is none. A [Document] never changes. [SetState] and [Add]
// return new bytes in which everything that was not asked for is as it was;
// they are pure, as is [Merge], which brings OpenCode's own todo list into the
// file. [File] does the reading and the writing on disk, safe against other
// processes, and [Watcher] tells when somebody else changed the file. [Sync]
// keeps the files of all open worktrees and tells people of such changes, and
// [Tools] lets models edit them.
package todo
