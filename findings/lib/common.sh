# Sourced by the scripts: a temp folder that goes away, pinned packages in it, a clean environment, a stand-in model.
# shellcheck shell=bash disable=SC2034
set -euo pipefail

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(cd "$(mktemp -d)" && pwd -P)
mkdir "$work/home" "$work/tmp" "$work/project"
started=()

finish() {
    tmux -S "$work/tmux" kill-server 2>/dev/null || true
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    for _ in 1 2 3 4 5; do # what was ended may still be writing
        rm -rf "$work" 2>/dev/null && break
        sleep 0.5
    done
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# about: the comment at the script's top.
about() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# npm_install PACKAGE@VERSION... and pip_install PACKAGE==VERSION...: programs appear in $bin.
npm_install() {
    quietly npm install --prefix "$work/packages" --no-audit --no-fund "$@"
    bin=$work/packages/node_modules/.bin
}
pip_install() {
    quietly python3 -m venv "$work/venv"
    quietly "$work/venv/bin/pip" install --disable-pip-version-check "$@"
    bin=$work/venv/bin
}
quietly() {
    timeout 300 "$@" >"$work/install.log" 2>&1 || {
        cat "$work/install.log" >&2
        exit 1
    }
}

# model NAME [--status N] [--header NAME=VALUE]: a stand-in model; its address is $api, its requests are in $requests.
model() {
    local folder=$work/model-$1
    shift
    mkdir "$folder"
    python3 -I "$lib/model_api.py" "$folder" "$@" >"$folder/said" 2>&1 &
    started+=($!)
    for _ in $(seq 100); do
        [ -e "$folder/port" ] && break
        sleep 0.1
    done
    api=http://127.0.0.1:$(cat "$folder/port")
    requests=$folder/requests
    touch "$requests"
}

# clean COMMAND...: in an empty environment with a HOME of its own, for two minutes or $limit seconds; the proxy is a
# closed port, so that only loopback answers.
clean() {
    env -i PATH="$PATH" HOME="$work/home" TMPDIR="$work/tmp" LANG=C.UTF-8 TERM=xterm-256color \
        HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY=127.0.0.1 \
        timeout --foreground --kill-after=5 "${limit:-120}" "$@" || {
        local status=$?
        if [ "$status" -eq 124 ] && [ -z "${limit:-}" ]; then echo "  cut after two minutes: $*" >&2; fi
        return "$status"
    }
}

# claude_code VERSION: the client; `claude ARGUMENTS` is it in the clean environment with the newest stand-in as its
# model.  `trust FOLDER...`: it starts there without a dialog.
claude_code() {
    npm_install "@anthropic-ai/claude-code@$1"
    expect "version" "$1 (Claude Code)" "$(clean "$bin/claude" --version)"
    trust "$work/project"
}
claude() {
    clean env ANTHROPIC_BASE_URL="$api" "${claude_env[@]}" "$bin/claude" "$@" </dev/null
}
claude_env=(
    SHELL=/bin/sh ANTHROPIC_API_KEY=stand-in-key
    DISABLE_AUTOUPDATER=1 DISABLE_TELEMETRY=1 DISABLE_ERROR_REPORTING=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
)
trust() {
    local folder projects=
    for folder in "$@"; do projects+="${projects:+, }\"$folder\": {\"hasTrustDialogAccepted\": true}"; done
    printf '{"hasCompletedOnboarding": true, "theme": "dark", "projects": {%s}, "customApiKeyResponses": %s}\n' \
        "$projects" '{"approved": ["stand-in-key"], "rejected": []}' >"$work/home/.claude.json"
}

# terminal NAME FOLDER COMMAND...: in a tmux session; `screen NAME` is what it shows, `shows NAME TEXT` waits for it.
terminal() {
    clean tmux -S "$work/tmux" -f /dev/null new-session -d -x 120 -y 40 -s "$1" -c "$2" -- "${@:3}"
}
screen() {
    tmux -S "$work/tmux" capture-pane -p "${@:2}" -t "=$1:"
}
shows() {
    for _ in $(seq 150); do
        if screen "$1" 2>/dev/null | grep -q -- "$2"; then return; fi
        sleep 0.2
    done
    echo "  $1 does not show '$2':" >&2
    screen "$1" >&2
    exit 1
}

# expect WHAT EXPECTED SEEN: one line, and the end of the script where the behaviour is another one.
expect() {
    if [ "$2" = "$3" ]; then
        printf '  %s: %s\n' "$1" "$3"
    else
        printf '  %s: %s, but %s was expected: the behaviour has changed\n' "$1" "$3" "$2" >&2
        exit 1
    fi
}
