#!/usr/bin/env bash
# doit 0.37.0: a failure makes every task after it forget that it was done.
#
# Setup:  a -> b -> c, each made and up to date; then a fails once, and is mended so that a.txt stays the same.
# Guess:  b and c were skipped by the failed run and nothing that they read changed: up to date after the mend.
# Seen:   the failed run drops the records of b and c too, and after the mend both run again:
#             -- a    -- b    -- c      before
#             .  a    .  b    .  c      after the failure and the mend
# Matters: behind a costly task (an agent's work), one red check at the top means paying for all of it again.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
pip_install doit==0.37.0
cd "$work/project"
cat >dodo.py <<'PY'
DOIT_CONFIG = {"verbosity": 0, "continue": True}


def task_a():
    return {"actions": ["cp in.txt a.txt && test ! -e broken"], "file_dep": ["in.txt", "tool"], "targets": ["a.txt"]}


def task_b():
    return {"actions": ["cp a.txt b.txt"], "file_dep": ["a.txt"], "targets": ["b.txt"]}


def task_c():
    return {"actions": ["cp b.txt c.txt"], "file_dep": ["b.txt"], "targets": ["c.txt"]}
PY
lines() { # the run's lines about tasks: "." ran, "--" is up to date
    clean "$bin/doit" | sed -n 's/^\(\.\|--\) *\([abc]\)$/\1 \2/p' | paste -sd, || true
}
echo one >in.txt
echo 1 >tool

expect "version" "0.37.0" "$(clean "$bin/doit" --version | head -n 1)"
expect "first run" ". a,. b,. c" "$(lines)"
expect "second run" "-- a,-- b,-- c" "$(lines)"
before=$(cat a.txt b.txt | cksum)
touch broken
echo 2 >tool
expect "a fails" ". a" "$(lines)"
rm broken
expect "a mended" ". a,. b,. c" "$(lines)"
expect "bytes of a.txt and b.txt" "$before" "$(cat a.txt b.txt | cksum)"
