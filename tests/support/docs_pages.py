"""Reads the documentation as a program would: its links, its commands, its settings, its console sessions.

A console block after ``<!-- runs -->`` is run by the tests; lines that begin with ``$ `` are commands, what
follows is what they print. ``...`` stands for lines left out, a word with a digit in it for any word, a
length of time for any: ids, times and sizes differ from machine to machine.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from ringroad.cli import cli

ROOT = Path(__file__).parents[2]
RUNS = "<!-- runs -->"
_FENCE = re.compile(r"^```(\w*)\s*$")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"(?:^|[\s(`|;&])ringroad +(.+)")
_ESCAPE = re.compile(r"\x1b\[[0-9]*[A-Z]")  # what draws over earlier lines on a terminal
_SPAN_OF_TIME = re.compile(r"\b\d[\d.]* (?:ms|s|min|h|d)\b(?: \d+ (?:s|min|h)\b)?")
_ANY_SPAN = "ANY-SPAN"
_ROOT_OPTIONS = {"--config": 1, "--var": 1, "--json": 0, "--help": 0, "-h": 0, "--version": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One fenced block of a page."""

    language: str
    runs: bool
    lines: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Step:
    """One command of a console block, and what it should print."""

    command: str
    output: list[str] = field(default_factory=list)


def pages() -> list[Path]:
    """Return every page that a person reads, the generated ones included."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def fences(text: str) -> Iterator[Fence]:
    """Yield the fenced blocks of a page."""
    language, runs, block = "", False, list[str]()
    before, inside = "", False
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if mark and not inside:
            inside, language, runs, block = True, mark[1], before == RUNS, []
        elif mark and inside:
            inside = False
            yield Fence(language=language, runs=runs, lines=tuple(block))
        elif inside:
            block.append(line)
        if line.strip():
            before = line.strip()


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    kept, inside = [], False
    for line in text.split("\n"):
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def links(text: str) -> list[str]:
    """Return where a page points to, images included; addresses elsewhere are left out."""
    return [to for to in _LINK.findall(prose(text)) if not re.match(r"[a-z]+:", to)]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words after `ringroad` of every command line that a page names."""
    spans = [span for span in _SPAN.findall(prose(text)) if span.startswith("ringroad ")]
    lines = [
        line for fence in fences(text) if fence.language in {"", "console", "sh"} for line in fence.lines
    ]
    for line in [*spans, *lines]:
        found = _COMMAND.search(line)
        if found:
            yield words_of(found[1])


def words_of(rest: str) -> list[str]:
    """Split a command line at its end: a comment, a pipe, a closing bracket."""
    lexer = shlex.shlex(rest, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words = []
    try:
        for word in lexer:
            if set(word) <= set("();<>|&"):
                break
            words.append(word)
    except ValueError:  # a quote that a person left open in a sentence
        return words
    return words


def problem_with(words: list[str]) -> str:
    """Say what is wrong with a command line, or nothing."""
    command: click.Command = cli
    ctx = click.Context(cli, info_name="ringroad")
    said = "ringroad"
    rest = list(words)
    while rest and rest[0] in _ROOT_OPTIONS:
        del rest[: 1 + _ROOT_OPTIONS[rest[0]]]
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        below = command.get_command(ctx, rest[0])
        if below is None:
            return f"there is no `{said} {rest[0]}`"
        command, said = below, f"{said} {rest.pop(0)}"
        ctx = click.Context(command, parent=ctx)
    known = {"--help"}.union(*(set(each.opts) | set(each.secondary_opts) for each in command.params))
    for word in rest:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known:
            return f"`{said}` has no option {option}"
    return ""


def steps(fence: Fence) -> list[Step]:
    """Return the commands of a console block with what each should print."""
    found: list[Step] = []
    for line in fence.lines:
        if line.startswith("$ "):
            found.append(Step(command=line[2:]))
        elif line.startswith("> ") and found and not found[-1].output:
            found[-1].command += "\n" + line[2:]
        elif line.strip() and line.strip() != "..." and found:
            found[-1].output.append(line)
    return found


def missing_line(expected: list[str], printed: str) -> str:
    """Return the first expected line that was not printed, in order; or nothing."""
    lines = iter(_ESCAPE.sub("", printed).replace("\r", "").split("\n"))
    for line in expected:
        words = _SPAN_OF_TIME.sub(_ANY_SPAN, line).split()
        pattern = re.compile(r"\s+".join(_word(word) for word in words) + r"\s*")
        if not any(pattern.fullmatch(each.strip()) for each in lines):
            return line
    return ""


def _word(word: str) -> str:
    """A word with a digit stands for any word, a length of time for any, dots for any words."""
    if word == "...":
        return r".*"
    if _ANY_SPAN in word:
        return re.escape(word).replace(re.escape(_ANY_SPAN), _SPAN_OF_TIME.pattern)
    return r"\S+" if re.search(r"\d|\.\.\.$", word) else re.escape(word)
