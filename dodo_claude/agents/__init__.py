"""Each client: how it starts, and what its hooks, screens, errors, limits and transcripts mean. Nobody else knows one."""
