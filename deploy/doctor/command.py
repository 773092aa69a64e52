"""Whether the command that the container runs finds its file or module, and what that imports, in the image.

A command of Python's is followed: `python app.py`, `python -m package.module`. Of any other nothing is said.
"""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.doctor.findings import Finding
from deploy.doctor.templates import Template, container_of


def check_command(dockerfile: Path, template: Template) -> Iterator[Finding]:
    stage = re.split(r"^FROM\s.*$", dockerfile.read_text().replace("\\\n", " "), flags=re.M)[-1]
    command = _command(stage, container_of(template))
    context = _Context(dockerfile.parent, stage)
    started = _started(command, context)
    if started is None:
        return
    name, candidates = started
    here = next((path for path in candidates if context.has(path)), None)
    if here is None:
        yield Finding(
            "command-not-found", f"`{shlex.join(command)}` wants {name}, which {dockerfile} does not copy in."
        )
        return
    script = next(source for source in context.sources(here) if source.is_file())
    lacking = sorted(str(path) for path in _imported(script, context) if not context.has(context.folder / path))
    if lacking:
        what = f"`{shlex.join(command)}` imports {', '.join(lacking)}, which {dockerfile} does not copy in."
        yield Finding("command-not-found", what)


def _command(stage: str, container: dict[str, Any]) -> list[str]:
    """What is run: the task definition's word goes before the image's."""
    entry = container.get("EntryPoint") or _instruction(stage, "ENTRYPOINT")
    return [*entry, *(container.get("Command") or _instruction(stage, "CMD"))]


def _instruction(stage: str, name: str) -> list[str]:
    written = re.findall(rf"^{name}\s+(.*)", stage, re.M)
    if not written:
        return []
    return json.loads(written[-1]) if written[-1].startswith("[") else shlex.split(written[-1])


class _Context:
    """The files of the repository as the last stage of the Dockerfile sees them."""

    def __init__(self, root: Path, stage: str):
        self.root = root
        ignore = root / ".dockerignore"
        lines = ignore.read_text().splitlines() if ignore.is_file() else []
        self._ignored = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        self.folder, self._copies = PurePosixPath("/"), []
        for instruction, words in re.findall(r"^(WORKDIR|COPY|ADD)\s+(.*)", stage, re.M):
            if instruction == "WORKDIR":
                self.folder /= words.strip()
            elif "--from" not in words:
                *sources, goal = [word for word in words.split() if not word.startswith("--")]
                self._copies += [(source, self.folder / goal, goal.endswith(("/", "."))) for source in sources]

    def has(self, path: PurePosixPath) -> bool:
        """Whether a path in the image comes from a file of the repository."""
        return any(source.is_file() and self._admits(source) for source in self.sources(path))

    def sources(self, path: PurePosixPath) -> Iterator[Path]:
        """The files, there or not, that a path in the image may have been copied from."""
        for pattern, goal, into in self._copies:
            for source in self.root.glob(pattern) if pattern != "." else [self.root]:
                if source.is_dir() and path.is_relative_to(goal):
                    yield source / path.relative_to(goal)
                elif path == (goal / source.name if into else goal):
                    yield source

    def _admits(self, source: Path) -> bool:
        """By .dockerignore, of whose lines the last that fits has the word."""
        path = source.relative_to(self.root)
        names = [str(path), *map(str, path.parents)][:-1]  # but for the root
        admitted = True
        for line in self._ignored:
            pattern = _expression(line.lstrip("!").strip("/"))
            if any(re.fullmatch(pattern, name) for name in names):
                admitted = line.startswith("!")
        return admitted


def _expression(pattern: str) -> str:
    """A pattern of .dockerignore as a regular expression."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))


def _started(command: list[str], context: _Context) -> tuple[str, list[PurePosixPath]] | None:
    """What Python is to start, and where in the image it may lie; None where it is none of the repository's files."""
    if not command or not re.fullmatch(r"python[\d.]*", PurePosixPath(command[0]).name):
        return None
    words = [word for word in command[1:] if word == "-m" or not re.fullmatch(r"-[A-Za-z]", word)]
    if "-c" in command or not words:
        return None
    if words[0] != "-m":
        return words[0], [context.folder / words[0]]
    path = context.folder / words[1].replace(".", "/")
    lock = context.root / "requirements.lock"
    installed = re.findall(r"^([\w.-]+)==", lock.read_text(), re.M) if lock.is_file() else []
    if words[1].partition(".")[0] in {name.replace("-", "_") for name in installed}:
        return None
    return f"the module {words[1]}", [path.with_suffix(".py"), path / "__main__.py"]


def _imported(script: Path, context: _Context) -> set[Path]:
    """The repository's modules that a script imports, and that these import, as paths in the repository."""
    seen, waiting = set(), [script]
    while waiting:
        for name in _names(ast.parse(waiting.pop().read_text())):
            module = Path(name.replace(".", "/"))
            for file in (module.with_suffix(".py"), module / "__init__.py"):
                if file not in seen and (context.root / file).is_file():
                    seen.add(file)
                    waiting.append(context.root / file)
    return seen


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
