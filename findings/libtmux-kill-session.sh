#!/usr/bin/env bash
# libtmux 0.62.0 with tmux: a session that has_session() does not find is found, and killed, by kill_session().
#
# Setup:  one server with the sessions work-10 and other; nothing is called work-1.
# Guess:  has_session("work-1") is False, so kill_session("work-1") raises, or does nothing.
# Seen:   has_session() compares whole names; kill_session() hands the name to tmux, which takes a prefix:
#             has_session("work-1") False
#             kill_session("work-1") no error, work-10 is gone
# Matters: workers named by number; a worker that has ended is cleaned up, and another one's session ends.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
pip_install libtmux==0.62.0
printf '  %s\n' "$(tmux -V)"
cat >"$work/try.py" <<'PY'
import sys

import libtmux

server = libtmux.Server(socket_path=sys.argv[1], config_file="/dev/null")
for name in ("work-10", "other"):
    server.new_session(name, window_command="sleep 60")
print(server.has_session("work-1"), end=";")
try:
    server.kill_session("work-1")
except libtmux.exc.LibTmuxException as error:
    print(type(error).__name__, end=";")
else:
    print("no error", end=";")
print(",".join(session.session_name for session in server.sessions))
PY

expect "version" "0.62.0" "$("$bin/python" -c 'import libtmux; print(libtmux.__version__)')"
IFS=';' read -r has kill left <<<"$(clean "$bin/python" "$work/try.py" "$work/tmux")"
expect 'has_session("work-1")' False "$has"
expect 'kill_session("work-1")' "no error" "$kill"
expect "sessions left" other "$left"
