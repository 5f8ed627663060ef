"""The client's permission rules as a pure function: may this tool run on this path or command line? Asks nobody."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# Commands that run without a rule while every path they name is inside the working directory.
READERS = {"ls", "cat", "head", "tail", "wc", "pwd", "echo", "printf", "true", "cd"}
GIT_READERS = {"status", "log", "diff"}
# What acceptEdits runs besides, inside the working directory.
MAKERS = {"mkdir", "touch"}
# Never written through an allow rule. Text, because compiling it costs every start a millisecond.
PROTECTED = r"(^|/)(\.git|\.claude)(/|$)|(^|/)(\.mcp\.json|\.bashrc)$"


class Rules(NamedTuple):
    """Permission rules as written, `Edit(./**)`, and the directories their paths start from."""

    allow: tuple[str, ...]
    deny: tuple[str, ...]
    cwd: str


def permit(tool: str, subject: str, mode: str, rules: Rules) -> str:
    """'run', 'deny' or 'ask' for a Bash command line or for a Write's or Edit's path."""
    if is_denied(tool, subject, rules):
        return "deny"
    if mode == "bypassPermissions":
        return "run"
    allowed = (
        _bash_allowed(subject, mode, rules) if tool == "Bash" else _path_allowed(tool, subject, mode, rules)
    )
    if allowed:
        return "run"
    return "deny" if mode == "dontAsk" else "ask"


def _split_rule(rule: str) -> tuple[str, str | None]:
    name, bracket, pattern = rule.partition("(")
    return name, pattern.removesuffix(")") if bracket else None


def is_denied(tool: str, subject: str, rules: Rules) -> bool:
    for name, pattern in map(_split_rule, rules.deny):
        if pattern is None:
            if name == tool:
                return True
        elif tool == "Bash":
            if name == "Bash" and any(_matches_command(pattern, words) for words in _every_command(subject)):
                return True
        elif name in ("Edit", "Read") and _matches_path(pattern, _real(subject, rules), rules):
            return True
    return False


def _path_allowed(tool: str, path: str, mode: str, rules: Rules) -> bool:
    real = _real(path, rules)
    inside = is_inside(real, rules.cwd)
    if re.search(PROTECTED, os.path.relpath(real, rules.cwd) if inside else real):
        return False
    if mode == "acceptEdits" and inside:
        return True
    for name, pattern in map(_split_rule, rules.allow):
        # A path rule of Edit covers Write as well and one of Write covers nothing; bare names cover only themselves.
        if name == tool if pattern is None else name == "Edit" and _matches_path(pattern, real, rules):
            return True
    return False


def _real(path: str, rules: Rules) -> str:
    return os.path.realpath(os.path.join(rules.cwd, os.path.expanduser(path)))


def is_inside(real: str, folder: str) -> bool:
    return (real + "/").startswith(os.path.realpath(folder).rstrip("/") + "/")


def _matches_path(pattern: str, real: str, rules: Rules) -> bool:
    if pattern.startswith("//"):
        base, rest = "/", pattern[2:]
    elif pattern.startswith("~/"):
        base, rest = os.path.expanduser("~"), pattern[2:]
    elif pattern.startswith("/"):
        base, rest = rules.cwd, pattern[1:]
    else:
        # Relative rules work as in a .gitignore: at any depth.
        base, rest = rules.cwd, "**/" + pattern.removeprefix("./")
    prefix = os.path.realpath(base).rstrip("/") + "/"
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    glob = re.sub(r"\*\*/|\*\*|\*|\?|.", lambda found: pieces.get(found[0]) or re.escape(found[0]), rest)
    return real.startswith(prefix) and re.fullmatch(glob, real[len(prefix) :], re.DOTALL) is not None


def _matches_command(pattern: str, words: list[str]) -> bool:
    line = " ".join(words)
    prefix = pattern.removesuffix(":*").removesuffix(" *")
    if prefix != pattern:
        return line == prefix or line.startswith(prefix + " ")
    return line == pattern


def _bash_allowed(command: str, mode: str, rules: Rules) -> bool:
    allowed = [pattern for name, pattern in map(_split_rule, rules.allow) if name == "Bash"]
    if None in allowed or command.strip() in allowed:
        return True
    commands = _simple_commands(command, mode, rules)
    return bool(commands) and all(
        any(pattern and _matches_command(pattern, words) for pattern in allowed)
        or _is_harmless(words, mode, rules)
        for words in commands
    )


def _is_harmless(words: list[str], mode: str, rules: Rules) -> bool:
    known = words[0] in READERS or (words[0] == "git" and words[1:2] and words[1] in GIT_READERS)
    if not known and not (mode == "acceptEdits" and words[0] in MAKERS):
        return False
    return all(
        "$" not in word and is_inside(_real(word, rules), rules.cwd) for word in words[1:] if word[:1] != "-"
    )


def _simple_commands(command: str, mode: str, rules: Rules) -> list[list[str]]:
    """The simple commands of a command line, or [] where a text rule cannot see through it or it writes a file."""
    if re.search(r"\$\(|`|[<>]\(|\$\{", command):
        return []
    commands: list[list[str]] = [[]]
    words = iter(_shell_words(command))
    for word in words:
        if not re.fullmatch(r"[();<>|&]+", word):
            commands[-1].append(word)
        elif "<" in word or ">" in word:
            if commands[-1] and commands[-1][-1].isdigit():
                commands[-1].pop()
            target = next(words, "")
            writes = ">" in word and not word.endswith("&") and target != "/dev/null"
            if writes and not _path_allowed("Edit", target, mode, rules):
                return []
        elif "(" in word or ")" in word:
            return []
        else:
            commands.append([])
    return [_unwrap(words) for words in commands if words]


def _shell_words(command: str) -> list[str]:
    import shlex

    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return ["("]


def _unwrap(words: list[str]) -> list[str]:
    if words[0] == "nohup" and len(words) > 1:
        return words[1:]
    return words[2:] if words[0] == "timeout" and len(words) > 2 else words


def _every_command(command: str) -> Iterable[list[str]]:
    """All that may be a command in the line, for deny rules: these look through brackets and wrappers."""
    for part in re.split(r"[;&|()`\n]+|\bif\b|\bthen\b|\{", command):
        words = part.replace('"', "").replace("'", "").replace("\\", "").split()
        while words and (re.match(r"\w+=", words[0]) or words[0] in ("command", "env", "nohup", "timeout")):
            del words[: 2 if words[0] == "timeout" else 1]
        if words:
            yield [os.path.basename(words[0]), *words[1:]]
