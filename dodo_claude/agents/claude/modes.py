"""The client's mode without any question, and its sandbox: what each takes."""

from __future__ import annotations

# The client's mode without any question, and the variable without which it refuses that mode to root.
BYPASS = "bypassPermissions"
BYPASS_ENV = {"IS_SANDBOX": "1"}
# What the client's sandbox is made of on Linux.
SANDBOX_PROGRAMS = {"bwrap": "bubblewrap", "socat": "socat"}  # program -> its package
