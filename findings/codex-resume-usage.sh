#!/usr/bin/env bash
# codex 0.171.0: the usage of a turn's end is the sum of its whole thread, resumed ones included.
#
# Setup:  `codex exec --json`, then twice `codex exec resume`, each in a process of its own; the model says of every
#         answer that it took 10 tokens in and 1 out.
# Guess:  turn.completed tells what that turn used: 10 and 1, three times.
# Seen:   10 and 1, then 20 and 2, then 30 and 3.
# Matters: whoever adds up what each run of a worker reports counts the first turns again with every repair.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
npm_install @openai/codex@0.171.0
mkdir -p "$work/home/.codex"
cd "$work/project"
git init -q .
model api
cat >"$work/home/.codex/config.toml" <<TOML
model = "stand-in"
model_provider = "loopback"
[model_providers.loopback]
name = "loopback"
base_url = "$api/v1"
wire_api = "responses"
TOML
turn() {
    clean "$bin/codex" exec "$@" </dev/null >"$work/out" 2>/dev/null
    sed -n 's/.*"type":"turn.completed".*"input_tokens":\([0-9]*\),.*"output_tokens":\([0-9]*\),.*/\1 \2/p' "$work/out"
}

expect "version" "codex-cli 0.171.0" "$(clean "$bin/codex" --version 2>/dev/null)"
expect "first turn" "10 1" "$(turn --json one)"
thread=$(sed -n 's/.*"thread_id":"\([^"]*\)".*/\1/p' "$work/out")
expect "resumed" "20 2" "$(turn resume --json "$thread" two)"
expect "resumed again" "30 3" "$(turn resume --json "$thread" three)"
expect "requests" 3 "$(wc -l <"$requests")"
