#!/usr/bin/env bash
# opencode 1.18.33: `opencode run` puts a prompt with a blank in it between quotes before the model sees it.
#
# Setup:  the same words as one argument and on standard input; the stand-in keeps what is sent.
# Guess:  the model is sent what was given, whichever way.
# Seen:   run "fix the build"         "fix the build"      with the quotes
#         echo fix the build | run    fix the build
# Matters: a prompt of an orchestrator is one argument with blanks: every one arrives as a quotation, and a digest or a
#         marker at its start does not match. Standard input carries it as it is.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
npm_install opencode-ai@1.18.33
cd "$work/project"
model api
config='{"model": "loopback/stand-in", "autoupdate": false, "share": "disabled", "provider": {"loopback": {
"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "'$api/v1'", "apiKey": "stand-in"},
"models": {"stand-in": {"name": "stand-in"}}}}}'
opencode() {
    : >"$requests"
    clean env OPENCODE_CONFIG_CONTENT="$config" OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_AUTOUPDATE=1 \
        "$bin/opencode" "$@" >"$work/out" 2>&1
}
prompt() { # what the request with tools, not the one for a title, ends with
    python3 - "$requests" <<'PY'
import json
import sys

for line in open(sys.argv[1]):
    body = json.loads(line)["body"]
    if body.get("tools"):
        content = body["messages"][-1]["content"]
        print((content if isinstance(content, str) else content[-1]["text"]).rstrip("\n"))
PY
}

expect "version" "1.18.33" "$(clean "$bin/opencode" --version)"
opencode run --title t "fix the build" </dev/null
expect "one argument" '"fix the build"' "$(prompt)"
echo "fix the build" | opencode run --title t
expect "standard input" 'fix the build' "$(prompt)"
