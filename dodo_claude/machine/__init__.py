"""The machine under us: files, processes, terminals, tmux, and what the kernel tells of changes."""
