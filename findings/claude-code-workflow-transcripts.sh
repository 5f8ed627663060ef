#!/usr/bin/env bash
# Claude Code 2.1.332: agents started by the Workflow tool leave their transcripts where those of Agent are not.
#
# Setup:  the stand-in calls Agent once and Workflow once, with a script that runs two agents in parallel.
# Guess:  three transcripts in SESSION/subagents/*.jsonl.
# Seen:   one there, two in SESSION/subagents/workflows/wf_*/agent-*.jsonl; beside those a journal.jsonl that is no
#         transcript.
# Matters: the sum of tokens over SESSION.jsonl and SESSION/subagents/*.jsonl misses what workflows used, and a sum over
#         every .jsonl below it reads a file of another kind.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
claude_code 2.1.332
cd "$work/project"
model api
prompt='CALL {"name": "Agent", "input": {"description": "one", "prompt": "Say A", "subagent_type": "general-purpose"}}'
script='export const meta = {name: \"two\", description: \"two agents\"}\n'
script+='await parallel([() => agent(\"Say B\"), () => agent(\"Say C\")])'
prompt+=$'\n''CALL {"name": "Workflow", "input": {"script": "'$script'"}}'
claude -p --allowedTools Agent Workflow -- "$prompt" >/dev/null

cd "$work"/home/.claude/projects/*/*/subagents
count() { find "$@" | wc -l; }
expect "subagents/*.jsonl" 1 "$(count . -maxdepth 1 -name '*.jsonl')"
expect "subagents/workflows/wf_*/agent-*.jsonl" 2 "$(count workflows/wf_*/ -name 'agent-*.jsonl')"
expect "those with usage" 2 "$(grep -l '"input_tokens"' workflows/wf_*/agent-*.jsonl | wc -l)"
expect "other .jsonl there" 1 "$(count workflows/wf_*/ -name '*.jsonl' ! -name 'agent-*')"
expect "of these with usage" 0 "$(grep -l '"input_tokens"' workflows/wf_*/journal.jsonl | wc -l)"
