#!/bin/sh
# One hook event of a worker becomes one file in its attempt's spool, whose arrival wakes the orchestrator. An event is
# a JSON object, which is none before its last byte: so it may be written where it is read, and whoever finds half of one
# knows it. Nothing is lost while no orchestrator runs: the files stay. It always succeeds, but on a full disk,
# and prints nothing but an answer: a hook's output and exit status steer the client.
# Arguments: spool folder, and optionally
#   answer FILE       print FILE
#   mail FOLDER EVENT give the messages in FOLDER/new (see mail.py) to the client as EVENT's additional context
#   permit FOLDER     wait for somebody's answer to this request for a permission (see permits.py), and print it
export LC_ALL=C # bytes; and a language costs a program the files that it is in
umask 077
exec 2>/dev/null
trap 'exit 0' EXIT # a shell ends where it can't open a file
spool=$1 what=$2 place=$3 event=$4
name=$$
while [ -e "$spool/$name" ] || [ -e "$spool/.$name" ]; do name=$name.$$; done # a process id comes round again
if [ "$what" = mail ]; then
    set -- "$place"/new/*
    [ -e "$1" ] || what=''
fi
# In this shell's place: the client waits for each process that it takes.
[ -n "$what" ] || exec cat >"$spool/$name"
if [ "$what" = answer ]; then
    cat >"$spool/$name"
    cat "$place"
    exit
fi
# What is found out here is told of in the event's own name: it gets that when it is whole.
told='' id=''
cat >"$spool/.$name" || what=''
set --
if [ "$what" = mail ]; then
    for letter in "$place"/new/*; do
        [ -e "$letter" ] || break
        # A subagent's tool: what it were told would not reach the worker itself.
        if [ $# = 0 ] && grep -q '"agent_id"' "$spool/.$name"; then break; fi
        # Whoever moves it delivers it.
        if mv "$letter" "$place/taken/"; then
            told=$told+${letter##*/}
            set -- "$@" "$place/taken/${letter##*/}"
        fi
        [ $# -lt 6 ] || break
    done
fi
# A subagent's request is left to its dialog, which the client opens only when this hook has ended.
if [ "$what" = permit ] && ! grep -q '"agent_id"' "$spool/.$name"; then
    id=$name-$(date +%s) # a process id comes round again, and an answer is for one request
    # Opened before it is told of: whoever answers finds a reader. For both ways, so that opening does not wait.
    [ -d "$place" ] || mkdir "$place"
    if mkfifo "$place/$id" && (exec 3<>"$place/$id"); then
        exec 3<>"$place/$id"
        trap 'rm -f "$place/$id"; exit 0' HUP INT TERM # its dialog was broken off, or waited too long
        told=%$id
    else
        id=
    fi
fi
# The messages are told of with the event itself: so a turn's end that was answered with one is known for none.
if ! mv "$spool/.$name" "$spool/$name$told" && [ -n "$id" ]; then
    rm -f "$place/$id" # nobody could know of it
    id=''
fi
if [ $# -gt 0 ]; then
    printf '{"hookSpecificOutput":{"hookEventName":"%s","additionalContext":"' "$event"
    cat "$@"
    printf '"}}\n'
fi
if [ -n "$id" ]; then
    # A client that is killed does not end its hooks. It may be dead and still have its number.
    client=${CLAUDE_PID:-$PPID}
    (while [ -p "$place/$id" ]; do
        if ! kill -0 "$client" || grep -q '^State:[[:space:]]*Z' "/proc/$client/status"; then echo >&3; fi
        sleep 5
    done) </dev/null >/dev/null &
    read -r line <&3
    rm -f "$place/$id"
    if mv "$place/$id.answer" "$place/$id.given"; then
        # Told of before the client acts on it.
        mv "$place/$id.said" "$spool/$name-said"
        cat "$place/$id.given"
    fi
fi
exit 0
