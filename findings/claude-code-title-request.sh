#!/usr/bin/env bash
# Claude Code 2.1.332: in a terminal the first prompt is sent twice, once more to name the session.
#
# Setup:  the client in tmux with a prompt of 30 kB as its argument; then with --name, and with two variables.
# Guess:  one request holds the prompt; a title, if any, is made from its first words.
# Seen:   two requests hold the last line of the prompt; one of them has no tools and asks for a title. With --name, with
#         CLAUDE_CODE_DISABLE_TERMINAL_TITLE=1 or with CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 there is one.
# Matters: a worker whose brief holds files pays for them twice at its start.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
claude_code 2.1.332
printf '  %s\n' "$(tmux -V)"
{
    seq -f "Line %g of the brief." 1400
    echo "The last line of the brief."
} >"$work/brief"
cat >"$work/start" <<'SH'
brief=$1
shift
exec "$@" "$(cat "$brief")"
SH
traffic=CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC
try() { # name, variable, options: requests with the prompt's last line and those of them without tools, in $seen
    local name=$1 variable=$2
    shift 2
    model "$name"
    terminal "$name" "$work/project" env ANTHROPIC_BASE_URL="$api" "${claude_env[@]}" "$traffic=" "$variable" \
        sh "$work/start" "$work/brief" "$bin/claude" "$@"
    shows "$name" "● done"
    sleep 3 # for what comes beside the turn
    seen=$(python3 - "$requests" <<'PY'
import json
import sys

bodies = [json.loads(line)["body"] for line in open(sys.argv[1])]
held = [body for body in bodies if "The last line of the brief." in json.dumps(body)]
print(len(held), sum(not body.get("tools") for body in held))
PY
    )
    tmux -S "$work/tmux" kill-session -t "=$name"
}

try plain "$traffic="
expect "requests with the whole prompt, those for a title" "2 1" "$seen"
try named "$traffic=" --name worker
expect "with --name" "1 0" "$seen"
try title CLAUDE_CODE_DISABLE_TERMINAL_TITLE=1
expect "with CLAUDE_CODE_DISABLE_TERMINAL_TITLE=1" "1 0" "$seen"
try traffic "$traffic=1"
expect "with $traffic=1" "1 0" "$seen"
