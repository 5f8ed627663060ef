#!/usr/bin/env bash
# qwen-code 0.24.4: after a Stop hook's "block" the result holds both answers, run together.
#
# Setup:  a Stop hook that blocks once ("look again"); the model answers "done" each time; `qwen -o json`.
# Guess:  the result is the last answer, "done"; the hook's reason is no prompt of the user, so UserPromptSubmit runs once.
# Seen:   result "donedone" with num_turns 1; UserPromptSubmit runs twice, the second time with the hook's reason as prompt.
# Matters: an answer that is parsed (a number, JSON, a verdict) is no longer one after a repair; a hook that counts or
#         checks prompts takes the orchestrator's own words for the user's.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
npm_install @qwen-code/qwen-code@0.24.4
mkdir -p "$work/home/.qwen"
cat >"$work/stop.sh" <<SH
cat >/dev/null
[ -e "$work/blocked" ] || echo '{"decision": "block", "reason": "look again"}'
touch "$work/blocked"
SH
printf '%s\n' "(cat; echo) >>'$work/prompts'" >"$work/prompt.sh"
cat >"$work/home/.qwen/settings.json" <<JSON
{"general": {"enableAutoUpdate": false}, "memory": {"enableManagedAutoMemory": false},
 "privacy": {"usageStatisticsEnabled": false},
 "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "sh '$work/stop.sh'"}]}],
           "UserPromptSubmit": [{"hooks": [{"type": "command", "command": "sh '$work/prompt.sh'"}]}]}}
JSON
cd "$work/project"
model api
expect "version" "0.24.4" "$(clean "$bin/qwen" --version)"
echo hello | clean env OPENAI_BASE_URL="$api/v1" OPENAI_API_KEY=stand-in OPENAI_MODEL=stand-in \
    "$bin/qwen" -o json >"$work/out" 2>"$work/err"
field() { # of the last event
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[-1][sys.argv[2]])' "$work/out" "$1"
}

expect "requests" 2 "$(wc -l <"$requests")"
expect "is_error" False "$(field is_error)"
expect "result" donedone "$(field result)"
expect "num_turns" 1 "$(field num_turns)"
expect "UserPromptSubmit ran" 2 "$(grep -c hook_event_name "$work/prompts")"
expect "with the hook's reason" 1 "$(grep -c '"prompt":"look again"' "$work/prompts")"
