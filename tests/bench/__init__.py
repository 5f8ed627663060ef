"""Benches: how fast dodo_claude is, beside what it is compared with, in one run. See README.md.

Rules kept in every module here:
- What is compared runs in turn, round after round, on the same files: this machine's speed drifts, ratios do not.
- A figure is a median with its quartiles, and is judged by goals.py only: no bench knows a goal.
- What can't be had here (a tool, the client, the network) is skipped with a word; nothing is made up for it.
- Nothing outlives a run: folders, processes and tmux servers are the lab's, which takes them away.

Imports go up this list only: frame; goals, table, tools; lab; one module for each bench; __main__.
"""
