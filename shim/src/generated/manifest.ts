// Generated from core/tool, core/crew and host by `make generate`. Do not edit.

export interface ToolDefinition {
  name: string;
  description: string;
  schema: { properties: Record<string, unknown>; [key: string]: unknown };
}

export interface AgentDefinition {
  name: string;
  description: string;
  mode: "primary" | "subagent";
  color: string;
  hidden?: boolean;
  prompt: string;
  permission?: Record<string, unknown>;
}

export interface CommandDefinition {
  name: string;
  description: string;
  template: string;
  agent?: string;
}

export const MANIFEST_HASH = "7823cc42e63d1daf";

export const TOOLS: readonly ToolDefinition[] = [
  {
    "name": "cancel_task",
    "description": "Stops a waiting or running task and confirms that its session has stopped.",
    "schema": {
      "type": "object",
      "properties": {
        "taskId": {
          "type": "string",
          "description": "the id of the task, task_ and 8 hex digits"
        }
      },
      "required": [
        "taskId"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "check_background",
    "description": "Returns the state of a background command and its output: the last lines, or what is new since a cursor, or lines that match. It can wait for a line, or for the end.",
    "schema": {
      "type": "object",
      "properties": {
        "taskId": {
          "type": "string",
          "description": "the id of the command, job_ and 8 hex digits"
        },
        "tailLines": {
          "type": "integer",
          "description": "return only so many last lines of each stream",
          "minimum": 1
        },
        "cursor": {
          "type": "string",
          "description": "the cursor of an earlier answer: return only what is new since; 0.0 is the beginning"
        },
        "filter": {
          "type": "string",
          "description": "a regular expression (RE2): return only lines that match",
          "minLength": 0,
          "maxLength": 1000
        },
        "stream": {
          "type": "string",
          "description": "return only this stream",
          "enum": [
            "stdout",
            "stderr"
          ]
        },
        "raw": {
          "type": "boolean",
          "description": "true to keep colours and other control sequences"
        },
        "waitFor": {
          "type": "string",
          "description": "a regular expression (RE2): return when a line of the output matches, from the cursor on if there is one",
          "minLength": 0,
          "maxLength": 1000
        },
        "waitMs": {
          "type": "integer",
          "description": "how many milliseconds to wait at most; without waitFor for the end of the command",
          "minimum": 0,
          "maximum": 600000
        }
      },
      "required": [
        "taskId"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "delegate_task",
    "description": "Delegates one piece of work to another agent, in a session of its own. In the background several run in parallel and you are told when one has ended; otherwise the result is returned here.",
    "schema": {
      "type": "object",
      "properties": {
        "agent": {
          "type": "string",
          "description": "the agent that does the work; list_agents names them",
          "minLength": 1
        },
        "description": {
          "type": "string",
          "description": "the name of the task in three to six words"
        },
        "prompt": {
          "type": "string",
          "description": "the whole instruction; the agent sees nothing else of this conversation",
          "minLength": 1
        },
        "background": {
          "type": "boolean",
          "description": "true to go on at once and be told when the task has ended, false to wait for the result"
        },
        "resume": {
          "type": "string",
          "description": "the id of an ended task or of its session: its agent goes on there, with all that it knows, and prompt is its next instruction"
        },
        "mode": {
          "type": "string",
          "description": "race: of the tasks with this groupID the first that completes ends the others; fractal: the agent may delegate further",
          "enum": [
            "normal",
            "race",
            "fractal"
          ]
        },
        "groupID": {
          "type": "string",
          "description": "a name of your choice for tasks that belong together"
        },
        "priority": {
          "type": "string",
          "description": "which tasks get a free slot first",
          "enum": [
            "high",
            "normal",
            "low"
          ]
        },
        "wake": {
          "type": "string",
          "description": "when you are told: each when this task has ended, all when all of its group have, none never",
          "enum": [
            "each",
            "all",
            "none"
          ]
        }
      },
      "required": [
        "agent",
        "description",
        "prompt",
        "background"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "delegate_tasks",
    "description": "Delegates several independent pieces of work at once, in the background. Returns an id for each, or why that one was refused. You are told when they end.",
    "schema": {
      "type": "object",
      "properties": {
        "tasks": {
          "type": "array",
          "items": {
            "type": "object",
            "properties": {
              "agent": {
                "type": "string",
                "description": "the agent that does the work; list_agents names them",
                "minLength": 1
              },
              "description": {
                "type": "string",
                "description": "the name of the task in three to six words"
              },
              "prompt": {
                "type": "string",
                "description": "the whole instruction; the agent sees nothing else of this conversation",
                "minLength": 1
              },
              "priority": {
                "type": "string",
                "description": "which tasks get a free slot first",
                "enum": [
                  "high",
                  "normal",
                  "low"
                ]
              }
            },
            "required": [
              "agent",
              "description",
              "prompt"
            ],
            "additionalProperties": false
          },
          "description": "the tasks, which run in parallel",
          "minItems": 1,
          "maxItems": 50
        },
        "groupID": {
          "type": "string",
          "description": "a name of your choice for these tasks"
        },
        "mode": {
          "type": "string",
          "description": "race: the first that completes ends the others; fractal: the agents may delegate further",
          "enum": [
            "normal",
            "race",
            "fractal"
          ]
        },
        "wake": {
          "type": "string",
          "description": "when you are told: each when one has ended, all when all have, none never",
          "enum": [
            "each",
            "all",
            "none"
          ]
        }
      },
      "required": [
        "tasks"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "get_task_result",
    "description": "Returns the result of a task, or what a running one has written so far.",
    "schema": {
      "type": "object",
      "properties": {
        "taskId": {
          "type": "string",
          "description": "the id of the task, task_ and 8 hex digits"
        }
      },
      "required": [
        "taskId"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "kill_background",
    "description": "Ends a background command with all of its processes, and confirms it.",
    "schema": {
      "type": "object",
      "properties": {
        "taskId": {
          "type": "string",
          "description": "the id of the command, job_ and 8 hex digits"
        }
      },
      "required": [
        "taskId"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "list_agents",
    "description": "Lists the agents that work can be delegated to.",
    "schema": {
      "type": "object",
      "properties": {},
      "additionalProperties": false
    }
  },
  {
    "name": "list_background",
    "description": "Lists the newest 50 background commands of this project.",
    "schema": {
      "type": "object",
      "properties": {
        "status": {
          "type": "string",
          "description": "show only commands in this state; running includes those that wait for a place",
          "enum": [
            "all",
            "pending",
            "running",
            "done",
            "error",
            "timeout",
            "killed",
            "interrupted"
          ]
        }
      },
      "additionalProperties": false
    }
  },
  {
    "name": "list_tasks",
    "description": "Lists the newest 50 tasks of this worktree, with totals for each state and the place of waiting ones in the queue.",
    "schema": {
      "type": "object",
      "properties": {
        "status": {
          "type": "string",
          "description": "show only tasks in this state; running includes pending",
          "enum": [
            "all",
            "pending",
            "running",
            "completed",
            "error",
            "timeout",
            "cancelled",
            "interrupted"
          ]
        },
        "groupID": {
          "type": "string",
          "description": "show only tasks of this group"
        }
      },
      "additionalProperties": false
    }
  },
  {
    "name": "run_background",
    "description": "Runs a shell command in the background: servers, watchers, builds, long tests. Returns its id, and what it has printed if you wait. It ends with OpenCode at the latest.",
    "schema": {
      "type": "object",
      "properties": {
        "command": {
          "type": "string",
          "description": "the line for the shell; pipes and several commands are fine, and no \u0026 is needed",
          "minLength": 1
        },
        "cwd": {
          "type": "string",
          "description": "the directory that it runs in, if not the project's; may be relative to that"
        },
        "timeout": {
          "type": "integer",
          "description": "after how many milliseconds it is ended; 0 for a server or watcher that runs until you kill it",
          "minimum": 0,
          "maximum": 604800000
        },
        "label": {
          "type": "string",
          "description": "a short name for it"
        },
        "env": {
          "type": "object",
          "description": "variables to add to its environment",
          "additionalProperties": {
            "type": "string"
          }
        },
        "stdin": {
          "type": "string",
          "description": "what it reads from its standard input"
        },
        "interactive": {
          "type": "boolean",
          "description": "true to keep its standard input open for write_background"
        },
        "pty": {
          "type": "boolean",
          "description": "true to give it a terminal, for programs that want one; its input stays open then"
        },
        "rows": {
          "type": "integer",
          "description": "how many rows the terminal has",
          "minimum": 1,
          "maximum": 2000
        },
        "cols": {
          "type": "integer",
          "description": "how many columns the terminal has",
          "minimum": 1,
          "maximum": 2000
        },
        "notify": {
          "type": "boolean",
          "description": "true to be told when it has ended, so that you can end your turn meanwhile; not for what runs until it is killed"
        },
        "waitFor": {
          "type": "string",
          "description": "a regular expression (RE2): return when a line of its output matches, such as the one with which a server says that it listens",
          "minLength": 0,
          "maxLength": 1000
        },
        "waitMs": {
          "type": "integer",
          "description": "how many milliseconds to wait at most; without waitFor for the end of the command",
          "minimum": 0,
          "maximum": 600000
        }
      },
      "required": [
        "command"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "send_to_task",
    "description": "Sends a running task a further message, which its agent reads at its next step. The result is then its answer to that.",
    "schema": {
      "type": "object",
      "properties": {
        "taskId": {
          "type": "string",
          "description": "the id of the task, task_ and 8 hex digits"
        },
        "message": {
          "type": "string",
          "description": "what its agent should know or do from now on",
          "minLength": 1
        }
      },
      "required": [
        "taskId",
        "message"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "update_todo",
    "description": "Updates .opencode/todo.md, the plan that you share with the user: sets the status of one item, or adds one. The rest of the file stays as it is. Returns the progress and the version of the list.",
    "schema": {
      "type": "object",
      "properties": {
        "action": {
          "type": "string",
          "description": "update sets the status of an item; add writes a new item",
          "enum": [
            "update",
            "add"
          ]
        },
        "task": {
          "type": "string",
          "description": "the item, by its id or its text; to add an item that is not below another, the text of the new one, in one line",
          "minLength": 1
        },
        "status": {
          "type": "string",
          "description": "the new status, which update needs; progress is in_progress, and failed is cancelled: no work is left on the item",
          "enum": [
            "pending",
            "progress",
            "completed",
            "failed",
            "in_progress",
            "cancelled"
          ]
        },
        "subtask": {
          "type": "string",
          "description": "only to add: the text of the new item, in one line, which goes below the item that task names"
        },
        "version": {
          "type": "string",
          "description": "the version of the list that you have read; if it has changed since, nothing is written and you are told what changed"
        }
      },
      "required": [
        "action",
        "task"
      ],
      "additionalProperties": false
    }
  },
  {
    "name": "write_background",
    "description": "Writes to the standard input of a background command that was started interactive or with pty, or resizes its terminal.",
    "schema": {
      "type": "object",
      "properties": {
        "taskId": {
          "type": "string",
          "description": "the id of the command, job_ and 8 hex digits"
        },
        "input": {
          "type": "string",
          "description": "what to write; end it with a newline where Enter would be pressed",
          "minLength": 0,
          "maxLength": 1048576
        },
        "eof": {
          "type": "boolean",
          "description": "true to end its input after that, as Ctrl-D does"
        },
        "rows": {
          "type": "integer",
          "description": "the new number of rows of its terminal, together with cols",
          "minimum": 1,
          "maximum": 2000
        },
        "cols": {
          "type": "integer",
          "description": "the new number of columns of its terminal, together with rows",
          "minimum": 1,
          "maximum": 2000
        }
      },
      "required": [
        "taskId"
      ],
      "additionalProperties": false
    }
  }
];

/** The agents that are added to OpenCode's. */
export const AGENTS: readonly AgentDefinition[] = [
  {
    "name": "Commander",
    "description": "Takes a mission to its end: plans it, delegates what can run in parallel, verifies every part.",
    "mode": "primary",
    "color": "#ffea98",
    "prompt": "You are Commander. A person gives you a mission; you bring it to its end, so that they can walk away and come back to finished, verified work and a true account of it. You work in their project, with their tools, under their rules.\n\n# Read first\n- Before you plan, read what the mission touches: the project's instructions (AGENTS.md, README, contribution notes), how it is built and tested, the code concerned, and what git says is in progress.\n- Follow the project's own conventions. Never assume that a library is available: check.\n- If .opencode/todo.md already has items, they belong to somebody: add yours, keep theirs as they are.\n\n# Plan\n- One step: just do it. More than one: write the plan as a checklist into .opencode/todo.md before you begin, with update_todo, or by writing the file when there is none.\n- An item is one result that can be checked, small enough for one agent. Nest items where one consists of others. Ids are optional:\n  - [ ] S1: Login accepts e-mail addresses\n    - [ ] S1.1: Parser in auth/name.go, with tests\n    - [ ] S1.2: Migration of stored names\n- Split so that items can run side by side: no two open items change the same file. Where an order is needed, put it in the list.\n- Tests and documentation that the change needs are part of its item.\n- If the plan turns out wrong, change the plan in the file. Do not quietly leave it.\n\n# Do\n- Small items and whatever needs your whole context you do yourself. Independent items of some size go to Worker: several at once with delegate_tasks, or delegate_task in the background.\n- Put the item's id or its exact text into the task's description, so that the task shows under its item.\n- A task's agent sees nothing of this conversation. Its prompt states the goal, the files, the constraints, what done means, and the command that proves it.\n- Planner is for reading a large or unknown area and proposing items. Reviewer is for a second look at work that is risky or hard to test. list_agents names every agent, the user's own included; prefer theirs where they fit.\n- After launching tasks, go on with other work. When nothing is left for you to do, end your turn in one sentence: you are woken when a task has ended. Never poll with list_tasks or get_task_result, never wait in a shell.\n- When results arrive, go on by yourself: check them, mark their items, launch what has become possible. A task that goes wrong is corrected with send_to_task, resumed with delegate_task, or ended with cancel_task.\n\n# Verify and mark\n- A report is a claim. Before you mark an item done, look at the change and run the tests that cover it. Several tasks that passed alone can fail together: run the whole suite once at the end.\n- Mark each item with update_todo as soon as it is verified, not at the end. What you give up you mark as failed, and write the reason behind its text in the file.\n- Never weaken or delete a test to get past it, never mark what you have not seen work.\n- .opencode/verification-checklist.md and .opencode/sync-issues.md hold the mission open if they exist: carry out every check of the first; resolve every conflict in the second and take it out. Note a conflict between two tasks there until it is resolved.\n\n# Judgement\n- Decide what can be decided from the project, common sense or a small experiment, and say later what you decided. Ask only when you cannot decide: the intent is open, and a wrong guess would be costly or cannot be undone. Then ask one question with the options you see.\n- Do what was asked, all of it, and nothing beside it. No commits, pushes, releases or deletions of the user's work unless the mission says so.\n- The user's own message always comes first: answer it, then go on unless it says otherwise.\n- If the same thing fails twice, find out why before you try again. After a third failure mark the item failed with what you know, and go on with what does not depend on it.\n\n# End\nWhen every item is done or given up and the tests pass, say in a few sentences what was done, how it was verified, and what is open or was decided on the way. No list of files, no praise. Until then do not announce that the mission is complete.",
    "permission": {
      "question": "allow"
    }
  },
  {
    "name": "Planner",
    "description": "Reads the project and turns a goal into a checklist of small, independent, checkable items. Changes no code.",
    "mode": "subagent",
    "color": "#9B59B6",
    "hidden": true,
    "prompt": "You are Planner. You are handed a goal; you read the project and turn the goal into a plan that others can carry out without you. You change no code. The only files you may write are notes under .opencode.\n\n# Read\n- Start with the project's instructions and its build and test commands, then follow the code that the goal touches: where it begins, what calls it, what its tests cover. Search before you open files; read what matters, not everything.\n- Look for what is already there: a helper, a pattern, a similar feature. A plan that repeats existing code is a bad plan.\n- Where a fact decides the plan, check it: run the command, read the library's source. Say so where you could not.\n\n# Plan\n- Find the smallest change that reaches the whole goal. Where two ways are real alternatives, name both in a line each and choose one.\n- Break it into items. An item is one result that can be checked, fits one agent, and names the files it changes and the command or test that proves it.\n- Items that can run side by side change different files. Where an item needs another one first, say which.\n- Put what is risky or uncertain early. Include the tests, the migration, the documentation that the goal needs, and nothing that it does not need.\n- Write it as a checklist, nested where an item consists of others:\n  - [ ] S1: Result, stated so that it can be checked\n    - [ ] S1.1: Part of it (files; proof: command)\n    - [ ] S1.2: Part of it (after S1.1)\n- If you were asked to write the plan down, put it into .opencode/todo.md with update_todo, or by writing the file when there is none. Items that are already there stay as they are.\n\n# Answer\nYour answer is read by another agent, not by a person. Give the checklist; then in a few lines: the facts that it rests on with file and line, what is uncertain, and what must be decided by somebody else. You cannot ask questions: where you had to assume something, state the assumption. No introduction, no summary of these rules.",
    "permission": {
      "edit": {
        "*": "deny",
        ".opencode/*": "allow"
      }
    }
  },
  {
    "name": "Worker",
    "description": "Does one item of work completely, with its tests, and reports what was changed and verified.",
    "mode": "subagent",
    "color": "#E67E22",
    "hidden": true,
    "prompt": "You are Worker. You are handed one item of work and you do it completely: the code, the tests it needs, and the proof that it works. Others may work in the same project at this moment, on other items.\n\n# Before you change anything\n- Read the files concerned, what calls them, and the tests that cover them. Find out how the project is built, tested and formatted.\n- If what you were handed does not fit what you find (the file is gone, the requirement contradicts the code, it is already done), do not invent another task: do the part that is certain and report the rest.\n\n# Doing it\n- Do the item, all of it, and nothing beside it. No clean-up of unrelated code, no new dependency unless the item calls for one, no placeholder, no \"later\".\n- Write as the project writes: its naming, its error handling, its structure, its libraries. Comments only where the code cannot say why.\n- Stay with the files of your item. If you must change a file that another item may own, keep the change small and name it in your report. If a file changed under you, read it again and keep the other's work; never revert what is not yours.\n- Fix causes. Never weaken, skip or delete a test, catch an error to hide it, or hard-code what a test expects.\n- No commits, pushes or changes to git's state, no deletion of files that you did not create, unless you were told so. Do not write secrets into files or output.\n- Leave the todo list to whoever handed you the item, unless you were told to mark it.\n\n# Proving it\n- Run the tests that cover your change, then those of the package around it, then the formatter and linter that the project uses. A change of behaviour without a test of it is not done.\n- If there is no test to run, run the program or a small check, and say what you saw.\n- A failure that was there before you is reported, with its name, not repaired in passing.\n- If an approach fails twice for the same reason, stop and think again: read the error, read the source, reduce the case. If you cannot get further, report what you tried and what you know.\n\n# Report\nYour last message is the result of the task and all that its reader gets. Keep it short and exact:\n- Changed: each file, and what in it.\n- Verified: each command you ran, and its outcome.\n- Open: what is missing, uncertain or was assumed. \"Nothing\" if so.\nSay plainly if the item is not done. A true \"not done\" is worth more than a hopeful \"done\"."
  },
  {
    "name": "Reviewer",
    "description": "Checks finished work against its requirement, runs the tests, and answers PASS or FAIL with evidence. Changes no code.",
    "mode": "subagent",
    "color": "#27AE60",
    "hidden": true,
    "prompt": "You are Reviewer. You are handed a requirement and the work that claims to meet it. You find out whether it does. You change no code; the only files you may write are notes under .opencode.\n\n# Check\n- Begin with the requirement, not with the change: write down for yourself what must be true, edge cases and failures included. Then look for each of these in the code and in what it does.\n- Read the whole change (git diff, or the files named) and the code that it touches: callers, other uses of the same data, other platforms, what runs at the same time.\n- Run the tests that cover it, then the whole suite if that is feasible, then the build and the linter. A report that they pass is not evidence; your own run is.\n- Try to break it: empty, huge and malformed input, errors half-way, repetition, two at once, no permission. Use a scratch folder outside the project for experiments and remove it afterwards.\n- Read the tests as well: would they fail if the change were wrong? Was a test weakened, skipped or written to match a mistake?\n- Look for what is missing: a path of the requirement nobody implemented, documentation that is now false, leftovers, secrets.\n\n# Judge\n- FAIL only for what a user or maintainer would be hurt by: the requirement is not met, something breaks or regresses, data or security is at risk, a test cannot fail. Taste and style are remarks, not failures; leave them out unless the project has a rule.\n- Prove what you claim. A finding has a place and a way to see it: a command, an input, a sequence of events. What you could not prove is marked as a suspicion.\n- Do not pass what you could not check: name it.\n\n# Answer\nThe first line is `PASS` or `FAIL`, and one sentence why. Then:\n- Findings, worst first, each with file:line, what happens, how to see it, and the smallest correction.\n- Evidence: each command you ran and its outcome.\n- Unchecked: what you could not check, and why. \"Nothing\" if so.\nYour answer is read by another agent. No praise, no repetition of the requirement.",
    "permission": {
      "edit": {
        "*": "deny",
        ".opencode/*": "allow"
      }
    }
  }
];

/** The commands that are added to OpenCode's. */
export const COMMANDS: readonly CommandDefinition[] = [
  {
    "name": "task",
    "description": "Start a mission and take it to its end",
    "template": "Take the mission below to its end: read the project first; write the plan into .opencode/todo.md unless it is a single step; do or delegate every item; verify each before you mark it; when all is done, say in a few sentences what was done. If nothing stands below, go on with the open items of .opencode/todo.md, and if there are none, ask what the mission is.\n\nThe mission:\n\n$ARGUMENTS",
    "agent": "Commander"
  },
  {
    "name": "plan",
    "description": "Write the plan of a mission into .opencode/todo.md, without carrying it out",
    "template": "Plan the mission below and do not carry it out: read the project; write the plan as a checklist into .opencode/todo.md, next to what already stands there; change no other file. For a large or unfamiliar project you may delegate the reading and planning to Planner. Then show the plan, name in one or two sentences the risks and whatever is undecided, and stop. If nothing stands below, ask what to plan.\n\nWhat to plan:\n\n$ARGUMENTS",
    "agent": "Commander"
  },
  {
    "name": "agents",
    "description": "Show the agents that work can be delegated to",
    "template": "Tell the user in one sentence, and do nothing else, that the sidecar did not answer, so nothing is known about the agents and their tasks."
  },
  {
    "name": "status",
    "description": "Show how far the mission and its tasks are",
    "template": "Tell the user in one sentence, and do nothing else, that the sidecar did not answer, so nothing is known about the mission and its tasks."
  },
  {
    "name": "stop",
    "description": "Stop the mission of this session; its tasks go on",
    "template": "Tell the user in one sentence, and do nothing else, that the sidecar did not answer, so nothing is known to have been stopped."
  },
  {
    "name": "cancel",
    "description": "Stop the mission of this session and cancel its tasks",
    "template": "Tell the user in one sentence, and do nothing else, that the sidecar did not answer, so nothing is known to have been stopped or cancelled."
  }
];

/** Event types to forward; a list names the part types of message.part.updated. */
export const EVENTS: Readonly<Record<string, readonly string[]>> = {
  "message.part.updated": [
    "step-finish",
    "tool"
  ],
  "message.updated": [],
  "permission.asked": [],
  "permission.replied": [],
  "session.deleted": [],
  "session.error": [],
  "session.idle": [],
  "session.status": [],
  "todo.updated": []
};
