"""One run: its lock, its consent, what it looks at before it begins, and what its stages share."""
