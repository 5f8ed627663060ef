#!/bin/sh
# One hook event of a worker becomes one file of its attempt's spool (Maildir's way: written under tmp/,
# then renamed into new/, so nobody ever reads half an event), and a ring of the bell that wakes the
# orchestrator. Nothing is lost while no orchestrator runs: the file stays. It always succeeds and prints
# nothing but the file that a fourth argument names: a hook's output and exit status steer the client.
# Arguments: spool folder, bell (a FIFO), the attempt's ring, a file with the hook's answer (optional).
umask 077
exec 2>/dev/null
name=$$
while [ -e "$1/new/$name" ]; do name=$name.$$; done # a process id comes round again
if cat >"$1/tmp/$name"; then mv "$1/tmp/$name" "$1/new/$name"; fi
# In the background: a full bell (its orchestrator was suspended) makes a writer wait. Opened for both ways,
# since for writing alone it would block while nobody listens; then for writing alone, since a writer that
# holds the reading end, too, would wait for itself after the orchestrator is gone.
if [ -p "$2" ]; then (trap '' PIPE && exec 3<>"$2" 4>"$2" 3<&- && printf '%s\n' "$3" >&4) </dev/null >/dev/null & fi
if [ -n "$4" ]; then cat "$4"; fi
exit 0
