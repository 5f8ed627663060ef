"""orchestrate.toml, from bytes to frozen records, or every fault in it at once."""
