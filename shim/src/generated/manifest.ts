// Generated from core/tool and host by `make generate`. Do not edit.

export interface ToolDefinition {
  name: string;
  description: string;
  schema: { properties: Record<string, unknown>; [key: string]: unknown };
}

export const MANIFEST_HASH = "5f67ce3bcb0d4158";

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
    "name": "list_agents",
    "description": "Lists the agents that work can be delegated to.",
    "schema": {
      "type": "object",
      "properties": {},
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
