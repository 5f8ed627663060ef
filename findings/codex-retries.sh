#!/usr/bin/env bash
# codex 0.171.0: `codex exec` gives up a 429 after one request, unless it says when to come back; a 500 after 30.
#
# Setup:  a model provider on loopback that always answers 429, 429 with "retry-after: 1", or 500.
# Guess:  a rate limit is the error that passes by itself: tried again as often as a 500 is.
# Seen:   429                  1 request, though the message is "exceeded retry limit"
#         429, retry-after: 1  6 requests
#         500                  30 requests in about 25 seconds
# Matters: behind a proxy that drops the header every limit ends the worker at once, while a server's error costs many
#         requests of its own before anybody hears of it.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
npm_install @openai/codex@0.171.0
mkdir -p "$work/home/.codex"
cd "$work/project"
git init -q .
try() { # name and options of the stand-in: exit status, requests and last event, in $seen
    local status=0
    model "$@"
    cat >"$work/home/.codex/config.toml" <<TOML
model = "stand-in"
model_provider = "loopback"
[model_providers.loopback]
name = "loopback"
base_url = "$api/v1"
wire_api = "responses"
TOML
    clean "$bin/codex" exec --json hello </dev/null >"$work/out" 2>/dev/null || status=$?
    seen="$status $(wc -l <"$requests")"
}

expect "version" "codex-cli 0.171.0" "$(clean "$bin/codex" --version 2>/dev/null)"
try once --status 429
expect "429, exit status and requests" "1 1" "$seen"
expect "429, its message" 1 "$(tail -n 1 "$work/out" | grep -c "exceeded retry limit")"
try header --status 429 --header retry-after=1
expect "429 with retry-after, exit status and requests" "1 6" "$seen"
try server --status 500
expect "500, exit status and requests" "1 30" "$seen"
