#!/usr/bin/env bash
# Claude Code 2.1.332: it waits out a retry-after of 60 seconds, but does not wait at all for one of 61.
#
# Setup:  an API that always answers 429, with another retry-after each time; `claude -p`, cut after 25 seconds.
# Guess:  it waits as long as it is told, or as long as its own longest pause, and then tries again.
# Seen:   retry-after 2   tries on and on
#         retry-after 60  one request, waiting
#         retry-after 61  one request, exit status 1 within a few seconds
# Matters: when a limit is far away the worker is gone at once: what starts it has to do the waiting.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
claude_code 2.1.332
cd "$work/project"
limit=25
try() { # retry-after: the exit status (124: cut) and the number of requests, in $seen
    local status=0
    model "$1" --status 429 --header "retry-after=$1"
    claude -p hello >/dev/null 2>&1 || status=$?
    seen="$status $(wc -l <"$requests")"
}

try 2
expect "retry-after 2, exit status" 124 "${seen% *}"
expect "retry-after 2, several requests" yes "$([ "${seen#* }" -ge 3 ] && echo yes || echo "${seen#* }")"
try 60
expect "retry-after 60, exit status and requests" "124 1" "$seen"
try 61
expect "retry-after 61, exit status and requests" "1 1" "$seen"
