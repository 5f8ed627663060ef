#!/usr/bin/env bash
# Claude Code 2.1.332: a session resumed with another --append-system-prompt keeps the first one.
#
# Setup:  `claude -p --session-id ID --append-system-prompt "Brief one"`, then `claude -p --resume ID
#         --append-system-prompt "Brief two"`; the stand-in keeps what is sent.
# Guess:  the second request carries "Brief two", in the first one's place or after it.
# Seen:   both requests carry "Brief one"; "Brief two" is nowhere in them, and nothing says so (exit status 0).
# Matters: a brief that was corrected does not reach a worker that is resumed; it has to be told in a message.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
claude_code 2.1.332
cd "$work/project"
model api
id=11111111-1111-4111-8111-111111111111
claude -p --session-id "$id" --append-system-prompt "Brief one" "first question" >/dev/null
claude -p --resume "$id" --append-system-prompt "Brief two" "second question" >"$work/out" 2>&1

expect "the resumed run says" "done" "$(cat "$work/out")"
holding() { grep -c -- "$1" "$requests" || true; }
expect "requests" 2 "$(wc -l <"$requests")"
expect "with the first question" 2 "$(holding "first question")"
expect "with the second question" 1 "$(holding "second question")"
expect "with brief one" 2 "$(holding "Brief one")"
expect "with brief two" 0 "$(holding "Brief two")"
