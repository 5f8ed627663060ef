#!/usr/bin/env bash
# The demo of dodo_claude: sets itself up in demo/.venv, then hands over to narrate.py, which plays and tells it.
# Needs Python 3.11 or newer with pip, and tmux 3.2 or newer. `--help` says what it can do.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname -- "$here")
venv=$here/.venv

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "python: 3.11 or newer is needed and not on PATH (apt install python3, brew install python)" >&2
    return 1
}

# What demo/.venv is good for: this place (scripts in it hold its path) and these dependencies.
wanted() {
    printf '%s\n' "$root"
    cat -- "$root/pyproject.toml"
}

drop_venv() {
    trap '' INT TERM HUP
    rm -rf -- "$venv"
    echo "stopped while demo/.venv was being made; it is removed again" >&2
    exit 130
}

make_venv() {
    if [[ -x $venv/bin/python ]] && wanted | cmp -s - "$venv/made-for"; then
        return
    fi
    echo "Setting up demo/.venv (only this time) ..."
    trap drop_venv INT TERM HUP
    local pip=("$venv/bin/python" -m pip)
    if ! "$base" -m venv --clear "$venv" >/dev/null 2>&1; then
        # A Python that was packaged without ensurepip has a pip of its own that can fill other folders.
        "$base" -m venv --clear --without-pip "$venv"
        pip=("$base" -m pip --python "$venv/bin/python")
    fi
    # Editable: what you change in the checkout is what the demo shows.
    "${pip[@]}" install -qq --disable-pip-version-check --no-input --root-user-action=ignore -e "$root"
    wanted >"$venv/made-for"
    trap - INT TERM HUP
}

# The tests set DODO_CLAUDE_DEMO_PYTHON to a Python that has dodo_claude already.
base=${DODO_CLAUDE_DEMO_PYTHON:-$(find_python)}
for argument in "$@"; do
    case $argument in
        -h | --help | --clean) exec "$base" "$here/__main__.py" "$@" ;;
    esac
done
# Wrong options and strangers' sessions are told before anything is made.
"$base" "$here/__main__.py" --look-only "$@"
if [[ -z ${DODO_CLAUDE_DEMO_PYTHON:-} ]]; then
    make_venv
    base=$venv/bin/python
fi
exec "$base" "$here/__main__.py" "$@"
