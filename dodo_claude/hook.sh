#!/bin/sh
# One hook event of a worker becomes one file under tmp/ of its attempt's spool, and, once that is whole, an empty one
# of the same name under new/, so nobody ever reads half an event; then a ring of the bell wakes the orchestrator. (To
# rename it would cost a process more, of three.) Nothing is lost while no orchestrator runs: the files stay. It
# always succeeds and prints
# nothing but an answer: a hook's output and exit status steer the client.
# Arguments: spool folder, bell (a FIFO), the attempt's ring, and optionally
#   answer FILE       print FILE
#   mail FOLDER EVENT give the messages in FOLDER/new (see mail.py) to the client as EVENT's additional context
umask 077
exec 2>/dev/null
spool=$1 bell=$2 ring=$3 what=$4 place=$5 event=$6
name=$$
while [ -e "$spool/tmp/$name" ]; do name=$name.$$; done # a process id comes round again
cat >"$spool/tmp/$name" || name=
told=
set --
if [ "$what" = mail ] && [ -n "$name" ]; then
    for letter in "$place"/new/*; do
        [ -e "$letter" ] || break
        # A subagent's tool: what it were told would not reach the worker itself.
        if [ $# = 0 ] && grep -q '"agent_id"' "$spool/tmp/$name"; then break; fi
        # Whoever moves it delivers it.
        if mv "$letter" "$place/taken/"; then
            told=$told+${letter##*/}
            set -- "$@" "$place/taken/${letter##*/}"
        fi
        [ $# -lt 6 ] || break
    done
fi
# The messages are told of with the event itself: so a turn's end that was answered with one is known for none.
# `true`, since a shell ends where it can't open a file for `:`.
if [ -n "$name" ]; then true >"$spool/new/$name$told"; fi
# In the background: a full bell (its orchestrator was suspended) makes a writer wait. Opened for both ways,
# since for writing alone it would block while nobody listens; then for writing alone, since a writer that
# holds the reading end, too, would wait for itself after the orchestrator is gone.
if [ -p "$bell" ]; then (trap '' PIPE && exec 3<>"$bell" 4>"$bell" 3<&- && printf '%s\n' "$ring" >&4) </dev/null >/dev/null & fi
if [ $# -gt 0 ]; then
    printf '{"hookSpecificOutput":{"hookEventName":"%s","additionalContext":"' "$event"
    cat "$@"
    printf '"}}\n'
fi
if [ "$what" = answer ]; then cat "$place"; fi
exit 0
