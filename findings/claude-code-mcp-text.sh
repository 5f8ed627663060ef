#!/usr/bin/env bash
# mcp 2.3.0 with Claude Code 2.1.332: a tool annotated "-> str" gives the model JSON in place of its text.
#
# Setup:  an MCP server with two tools that return the same two lines; one is annotated "-> str", one is not.
# Guess:  the annotation is only an annotation: the model reads the same two lines from both.
# Seen:   the annotation makes the server add structured content beside the text, and the client hands on that alone:
#             without  line one / says "two"
#             with     {"result":"line one\nsays \"two\""}
# Matters: a log or a diff comes as one line with escapes; it costs more tokens, and a model that copies from it copies
#         the escapes. structured_output=False in the decorator brings the text back.

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
about
pip_install mcp==2.3.0
python=$bin/python
claude_code 2.1.332
cd "$work/project"
cat >"$work/server.py" <<'PY'
from mcp.server import MCPServer

server = MCPServer("notes")


@server.tool()
def without():
    """A note."""
    return 'line one\nsays "two"'


@server.tool(name="with")
def with_annotation() -> str:
    """A note."""
    return 'line one\nsays "two"'


@server.tool(structured_output=False)
def off() -> str:
    """A note."""
    return 'line one\nsays "two"'


server.run()
PY
cat >"$work/results.py" <<'PY'
import json
import sys

for line in open(sys.argv[1]):
    for message in json.loads(line)["body"].get("messages", []):
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "tool_result":
                content = part["content"]
                print(repr(content if isinstance(content, str) else content[0]["text"]))
PY
echo '{"mcpServers": {"notes": {"command": "'"$python"'", "args": ["'"$work/server.py"'"]}}}' >"$work/mcp.json"
model api
prompt=
for tool in without with off; do prompt+='CALL {"name": "mcp__notes__'$tool'", "input": {}}'$'\n'; done
claude -p --mcp-config "$work/mcp.json" --strict-mcp-config --allowedTools mcp__notes -- "$prompt" >/dev/null
clean "$python" "$work/results.py" "$requests" >"$work/results"

expect "version of mcp" "2.3.0" "$("$python" -c 'from importlib.metadata import version; print(version("mcp"))')"
expect "without" "'line one\\nsays \"two\"'" "$(sed -n 1p "$work/results")"
expect "with" "'{\"result\":\"line one\\\\nsays \\\\\"two\\\\\"\"}'" "$(sed -n 2p "$work/results")"
expect "structured_output=False" "'line one\\nsays \"two\"'" "$(sed -n 3p "$work/results")"
