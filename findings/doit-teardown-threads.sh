#!/usr/bin/env bash
# doit 0.37.0: with threads, each task's teardown runs once for every worker and once more.
#
# Setup:  four tasks, each with a teardown action that writes one line; the same dodo.py with three runners.
# Guess:  a teardown runs once, whatever the runner.
# Seen:   once with `doit` and with `doit -n 3`; with `doit -n 3 -P thread` each ran 4 times.
# Matters: a teardown that ends a worker's session or removes its worktree is asked again for what is gone.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
pip_install doit==0.37.0
cd "$work/project"
cat >dodo.py <<'PY'
def task_worker():
    for name in "abcd":
        yield {"name": name, "actions": ["sleep 0.2"], "teardown": [f"echo {name} >>torn-down"]}
PY
times() { # how often each teardown ran
    rm -f torn-down .doit*
    clean "$bin/doit" "$@" >/dev/null
    sort torn-down | uniq -c | awk '{print $2 $1}' | paste -sd' '
}

expect "version" "0.37.0" "$(clean "$bin/doit" --version | head -n 1)"
expect "doit" "a1 b1 c1 d1" "$(times)"
expect "doit -n 3" "a1 b1 c1 d1" "$(times -n 3)"
expect "doit -n 3 -P thread" "a4 b4 c4 d4" "$(times -n 3 -P thread)"
expect "doit -n 1 -P thread" "a2 b2 c2 d2" "$(times -n 1 -P thread)"
