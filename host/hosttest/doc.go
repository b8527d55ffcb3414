// Package hosttest tests against the real OpenCode without a real language
// model. It has two halves that know nothing of each other:
//
//   - [Model] is an OpenAI-compatible server on loopback whose answers are
//     written in the prompt itself, so that a test only sends a prompt.
//   - [Project] is a throw-away home and project folder in which the real
//     OpenCode binary runs, as `opencode serve` ([Server]) or `opencode run`
//     ([Process]), and the means to find and end every process it left behind.
//
// Nothing here needs package testing: demos and benchmarks use it as well.
//
// # Directives
//
// A directive is a line of a user message that starts with one of the words
// below. The model plays the last user message that holds directives; text
// within <system-reminder> tags does not count. A script is a sequence of
// steps, one per model request; which step is played is the number of assistant
// messages that follow the script's message in the request. So a message
// without directives that comes later (such as the notice that a background
// task has ended) goes on with the script. OpenCode leaves failed and empty
// answers out of later requests: they do not count as played.
//
// These end a step:
//
//	@say TEXT               text, finish reason stop; TEXT may be a JSON string
//	@call TOOL {JSON}       a tool call
//	@also TOOL {JSON}       directly after @call: a parallel call of the same step
//	@finish REASON          this finish reason (length, content_filter, ...) with
//	                        the text so far, that of an @say directly above included
//	@empty                  finish reason stop and no text
//	@fail STATUS [retry=D] MESSAGE
//	                        an HTTP error; D is sent as retry-after-ms
//	@hang                   the answer begins and never ends, until the client goes
//	                        away or the model is closed
//
// These come before the end of the step they belong to, in any number:
//
//	@text TEXT              text
//	@stream N DURATION      N small chunks of text, spread over the duration
//	@wait DURATION          silence
//	@gate NAME              silence until [Model.Open] is called with that name
//	@fail STATUS times=N [retry=D] MESSAGE
//	                        the first N requests of this step fail, later ones play
//	                        what follows
//	@fail STATUS model=NAME [times=N] [retry=D] MESSAGE
//	                        requests to this model fail, others play what follows
//	@usage INPUT OUTPUT     the token counts that are reported
//
// And one is for the whole script, whatever the line it stands in:
//
//	@tag NAME               groups requests for [Model.Load]
//
// After the last step the answer is "ok". A message without directives, with no
// script left to play, is echoed: "Received: " and its first 2000 characters.
//
// Arguments and texts may hold placeholders, resolved from the tool results of
// the request: {{task N}}, {{job N}} and {{session N}}, the N-th distinct id of
// that kind (from 1), and {{result N}}, the text of the N-th tool result; {{result}} is
// the last one. A string argument that holds directives itself, such as the
// prompt of a child session, is passed on untouched: what it holds is for the
// session that plays it. A script with a mistake in it is answered with HTTP 400, which
// OpenCode does not retry, and a message that names the line.
package hosttest
