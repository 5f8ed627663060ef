"""What a shell command runs, as far as its text tells: the program that it begins with, and the scripts in it.

Pure, and reads shell lightly. Rule this file keeps: in doubt it names nothing, so that nobody is told of a fault that is
none.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# What sh runs itself, or reads as its grammar: no program of that name need be there.
_OWN = """
. : [ [[ ! { } alias bg break builtin case cd chdir command continue declare do done echo elif else esac eval exec exit
export false fc fg fi for function getopts hash if in jobs kill let local printf pwd read readonly return select set shift
shopt source test then time times trap true type typeset ulimit umask unalias unset until wait while
"""
_OWN_WORDS = frozenset(_OWN.split())
# Of these, and of programs, what stands before a command of its own.
_BEFORE = frozenset(
    ("!", "{", "do", "elif", "else", "exec", "if", "then", "time", "until", "while", "command", "nohup")
)
# Programs that run the command which follows their options; some after a word of their own.
_WRAPPERS = {
    **dict.fromkeys(
        ("env", "nice", "timeout", "stdbuf", "xvfb-run", "npx", "sudo", "ionice", "catchsegv"), ""
    ),
    **dict.fromkeys(("uv", "poetry", "pipenv", "rye", "hatch", "pdm"), "run"),
    "bundle": "exec",
}
_INTERPRETER = re.compile(
    r"(python|pypy)[\d.]*|(ba|da|z|k|a)?sh|fish|node|deno|bun|ruby|perl|php|lua[\d.]*|Rscript|tclsh|pwsh|ts-node|tsx"
)
_MAKE = frozenset(("make", "gmake", "just"))
# Programs whose arguments are what they run.
_RUNNERS = frozenset(
    ("pytest", "py.test", "unittest", "bats", "prove", "mocha", "jest", "vitest", "rspec", "phpunit")
)
_CODE = re.compile(r".*\.(py|sh|bats|t|[cm]?[jt]sx?|rb|php|pl|lua)")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_DURATION = re.compile(r"[\d.]+[smhd]?")
# A word with one of these is not what it says.
_EXPANDED = re.compile(r"[$`*?\[\]{}~\\\s]")
_PATH = re.compile(r"[\w./@+-]+")
_SIGNS = ";&|()<>\n"


@dataclass(slots=True)
class _Simple:
    """One command of a line: its words, and what its standard input is redirected from."""

    words: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    then: str = ""  # the sign that ended it


def first_program(command: str) -> str | None:
    """The program that `command` begins with, as it is written; None: the shell itself, or that can't be told."""
    for simple in _commands(command):
        words = simple.words
        if words[:1] == ["!"]:  # that turns "not found" into a success
            words.pop(0)
        while words and _ASSIGNMENT.match(words[0]):
            if words.pop(0).startswith("PATH="):
                return None
        if not words:
            if "(" in simple.then or simple.read:
                return None
            continue
        word = words[0]
        function = len(words) == 1 and simple.then.startswith("(")
        return None if word in _OWN_WORDS or function or _EXPANDED.search(word) or not word else word
    return None


def first_script(command: str) -> str | None:
    """The script that an interpreter is given by which `command` begins, there or not; None: that can't be told."""
    for simple in _commands(command):
        words = [word for word in simple.words if word != "!" and not _ASSIGNMENT.match(word)]
        if not words:
            continue
        if not _INTERPRETER.fullmatch(posixpath.basename(words[0])):
            return None
        word = words[1] if len(words) > 1 else ""
        return word if _CODE.fullmatch(word) and not _EXPANDED.search(word) and word[0] not in "-/" else None
    return None


def scripts(command: str, is_file: Callable[[str], bool]) -> list[str]:
    """The files that `command` runs, relative to where it starts: `sh x.sh`, `./x`, `python3 x.py`, `make -f X`, `pytest x.py`.

    `is_file`: is there a file of that path? Where output goes, and what is only read, is none of them.
    """
    found: dict[str, None] = {}
    folder = "."

    def there(name: str) -> bool:
        return is_file(posixpath.normpath(posixpath.join(folder, name)))

    for simple in _commands(command):
        words = _without_wrappers(simple.words)
        if not words:
            continue
        if words[0] in ("cd", "pushd"):
            if len(words) != 2 or _EXPANDED.search(words[1]) or words[1] == "-":
                return list(found)
            folder = posixpath.join(folder, words[1])
            continue
        for word in _run_by(words, simple.read, there):
            found[posixpath.normpath(posixpath.join(folder, word))] = None
    return list(found)


def words(command: str) -> list[str]:
    """All that may be paths in `command`, whatever is done with them."""
    return list(dict.fromkeys(_PATH.findall(command)))


def _run_by(words: list[str], read: list[str], is_file: Callable[[str], bool]) -> Iterator[str]:
    head, rest = words[0], words[1:]
    program = posixpath.basename(head)
    if "/" in head and is_file(head):
        yield head
    if head in (".", "source"):
        yield from (word for word in rest[:1] if is_file(word))
    elif program in _MAKE:
        yield from _makefiles(rest, is_file)
    elif program in _RUNNERS:
        yield from _run_arguments(rest, is_file)
    elif _INTERPRETER.fullmatch(program):
        yield from _interpreted(rest, read, is_file)


def _interpreted(rest: list[str], read: list[str], is_file: Callable[[str], bool]) -> Iterator[str]:
    for index, word in enumerate(rest):
        if word == "-m" and rest[index + 1 : index + 2] and rest[index + 1] in _RUNNERS:
            yield from _run_arguments(rest[index + 2 :], is_file)
            return
        if word in ("-m", "-c", "-e", "--eval"):
            return
        if not word.startswith("-") and is_file(word):
            yield word
            return
    yield from (word for word in read if is_file(word))


def _run_arguments(rest: list[str], is_file: Callable[[str], bool]) -> Iterator[str]:
    for word in rest:
        path = word.partition("::")[0]
        if not word.startswith("-") and _CODE.fullmatch(path) and is_file(path):
            yield path


def _makefiles(rest: list[str], is_file: Callable[[str], bool]) -> Iterator[str]:
    for index, word in enumerate(rest):
        name = ""
        if word in ("-f", "--file", "--makefile", "--justfile"):
            name = "".join(rest[index + 1 : index + 2])
        elif word.startswith(("--file=", "--makefile=", "--justfile=")):
            name = word.partition("=")[2]
        elif word.startswith("-f"):
            name = word[2:]
        if name and is_file(name):
            yield name


def _without_wrappers(words: list[str]) -> list[str]:
    """The words from the program on that does the work."""
    words = list(words)
    while words:
        own = _WRAPPERS.get(posixpath.basename(words[0]))
        if words[0] in _BEFORE or _ASSIGNMENT.match(words[0]):
            words.pop(0)
        elif own is not None and (not own or words[1:2] == [own]):
            del words[: 2 if own else 1]
            while words and (
                words[0].startswith("-") or _DURATION.fullmatch(words[0]) or _ASSIGNMENT.match(words[0])
            ):
                words.pop(0)
        else:
            return words
    return []


def _commands(text: str) -> Iterator[_Simple]:
    """The simple commands of a line, in order; the first that can't be read, and what follows it, is left out."""
    text = re.sub(r"^[ \t]*#.*$", "", text.replace("\\\n", " "), flags=re.M)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_SIGNS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    simple, into = _Simple(), ""
    try:
        for token in lexer:
            signs = set(token) <= set(_SIGNS)
            if signs and "(" not in token and ("<" in token or ">" in token):
                if "<<" in token and "<<<" not in token:
                    break  # what follows is no command
                into = token
            elif signs:
                simple.then = token
                yield simple
                simple, into = _Simple(), ""
            elif into:
                if into.startswith("<"):
                    simple.read.append(token)
                into = ""
            elif token.startswith("#"):
                break
            else:
                simple.words.append(token)
    except ValueError:  # a quote that does not end
        return
    yield simple
