"""The Claude Code client: how it starts, and what its hooks, screens, log, settings and state mean."""
