#!/bin/sh
# The program that cli-agent-orchestrator's mock provider starts, which its package leaves out: a prompt, a line read, a
# while of work, an answer. Its arguments (--delay-ms N) do not count; a line's first number is how long it takes.
while :; do
    printf '❯ '
    IFS= read -r line || exit 0
    case $line in
    /exit) exit 0 ;;
    '') continue ;;
    esac
    seconds=${line#*sleep }
    sleep "${seconds%% *}"
    printf '> MOCK: done %s\n' "$line"
done
