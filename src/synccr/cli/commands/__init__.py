"""The commands: the function ``run`` of the module of that name, or its typer app, a group.

A module is loaded when its command is asked for. What help says of it in one line stands here,
and is the first sentence of its docstring.
"""

COMMANDS = {
    "start": "Check the models, heal the configuration, start CCR, watch it, recover.",
    "stop": "End the supervisor and CCR with it.",
    "restart": "Replace synccr and CCR by fresh ones, without a lost request.",
    "swap": "Move the running CCR to a profile by hand.",
    "demo": "Show the whole main job on an embedded provider: no key, no account, no "
    "configuration.",
    "models": "Ask every configured model whether it can serve, and say what to use instead.",
    "heal": "Check the models and write the healed configuration, without starting anything.",
    "ask": "Send one prompt through the running router; the answer is streamed to stdout.",
    "code": "Run Claude Code through the router, which is started when needed.",
    "env": "Print the exports that point any Anthropic client at the router.",
    "completion": "Print the completion script for your shell.",
    "statusline": "One line for Claude Code's statusLine setting: what serves, and why.",
    "status": "Show what runs, each model's state, and what happened last.",
    "events": "Show what synccr decided and did, oldest first.",
    "logs": "Show the latest of CCR's own logs, errors made readable and keys masked.",
    "trace": "Show the last 200 requests: which models were asked, and what each answered.",
    "notify": "Send a message to where the setting notify says: desktop, a URL or a command.",
    "doctor": "Check everything synccr needs, and say what is wrong and what mends it.",
    "init": "Ask for the provider's key once, keep it, and try your models.",
    "service": "Start synccr at login: systemd, launchd or a Windows scheduled task.",
}
