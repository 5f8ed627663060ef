"""`dodo-claude …` and its MCP twin: arguments in, words out."""
