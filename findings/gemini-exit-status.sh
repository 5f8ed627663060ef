#!/usr/bin/env bash
# gemini-cli 0.61.0: with JSON output the exit status is the HTTP status, cut to eight bits.
#
# Setup:  an API that refuses with 401 or 403; `gemini -o json` and text output.
# Guess:  exit status 1 in every case.
# Seen:   with -o json 145 and 147 (401 and 403 less 256); with text output 1.
# Matters: a status above 128 is read as "ended by signal 17" and "19"; a worker with a wrong key looks like one
#         that was stopped from outside and is started anew.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
npm_install @google/gemini-cli@0.61.0
mkdir -p "$work/home/.gemini"
printf '%s\n' '{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false},
"general": {"enableAutoUpdate": false}}' >"$work/home/.gemini/settings.json"
cd "$work/project"
try() { # output format: the exit status, in $seen
    seen=0
    echo hello | clean env GOOGLE_GEMINI_BASE_URL="$api" GEMINI_API_KEY=stand-in GEMINI_CLI_TRUST_WORKSPACE=true \
        "$bin/gemini" -m gemini-2.5-pro -o "$1" >"$work/out" 2>&1 || seen=$?
}

expect "version" "0.61.0" "$(clean "$bin/gemini" --version 2>/dev/null)"
for status in 401 403; do
    model "$status" --status "$status"
    try json
    expect "$status, -o json, exit status" "$((status - 256))" "$seen"
    expect "$status, requests" 1 "$(wc -l <"$requests")"
done
try text
expect "403, -o text, exit status" 1 "$seen"
