"""Mirror the serving part of this repository, with the model, to a Hugging Face Space.

    SPACE=your-name/seefood102 python -m deploy.space          the token is that of `hf auth login`, or HF_TOKEN
    python -m deploy.space --folder build/space                only put it together there

The Space is made if there is none. All files go in one commit, since each commit makes the Space build anew; what the
Space has and this list has not is removed. Nothing changes when all is the same.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
KEPT = (".gitattributes",)  # the Hub's own: which files it stores apart, .onnx among them
VARIABLES = {
    "GRADIO_SERVER_NAME": "0.0.0.0",  # noqa: S104  (a container must let its proxy in)
    "FORWARDED_ALLOW_IPS": "*",  # only the Hub's proxy reaches the container
}


class SpaceError(Exception):
    """The Space cannot be put together or sent."""


def served_files(root: Path = ROOT) -> list[Path]:
    """What the app needs to run, relative to the repository's root: no training, no tests, no folder of git."""
    code = [*root.glob("seefood/*.py"), *root.glob("seefood/serving/*.py")]
    files = [root / "app.py", root / "LICENSE", root / "models/seefood.onnx", *code, *root.glob("examples/*.*")]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise SpaceError(f"{missing[0].relative_to(root)}: missing. `make model` pulls the model.")
    return sorted(path.relative_to(root) for path in files)


def requirements(locked: str, project: str) -> str:
    """The Space's requirements.txt: what this project itself needs, at the locked versions, but for gradio.

    A Space installs gradio[oauth,mcp] of its `sdk_version` together with these, and the extra `mcp` admits other
    versions of pydantic than the lock has: with all of the lock a Space would not build. What gradio needs, it chooses.

    Args:
        locked: the text of requirements.txt.
        project: the text of pyproject.toml.
    """
    needed = [re.match(r"[\w.-]+", line)[0] for line in tomllib.loads(project)["project"]["dependencies"]]  # type: ignore[index]
    kept = [line for line in locked.splitlines() if _name(line) in needed and _name(line) != "gradio"]
    absent = {*needed} - {"gradio"} - {_name(line) for line in kept}
    if absent:
        raise SpaceError(f"requirements.txt pins no {', '.join(sorted(absent))}. Run: make lock")
    return "\n".join(kept) + "\n"


def _name(line: str) -> str:
    return line.partition("==")[0].strip()


def readme(space: str, template: str, locked: str, project: str, source: str) -> str:
    """The Space's README.md, whose front matter says how it is built."""
    sdk = re.search(r"^gradio==(\S+)", locked, re.MULTILINE)
    python = re.search(r"\d+\.\d+", tomllib.loads(project)["project"]["requires-python"])
    if not sdk or not python:
        raise SpaceError("requirements.txt pins no gradio, or pyproject.toml names no Python.")
    values = {"space": space, "sdk_version": sdk[1], "python_version": python[0], "source": source}
    for key, value in values.items():
        template = template.replace(f"{{{key}}}", value)
    return template


def assemble(folder: Path, space: str, root: Path = ROOT, source: str = "") -> list[str]:
    """Put the Space together in an empty folder, and return the names of its files."""
    for path in served_files(root):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, folder / path)
    locked, project = (root / "requirements.txt").read_text(), (root / "pyproject.toml").read_text()
    (folder / "requirements.txt").write_text(requirements(locked, project))
    text = readme(space, (root / "deploy/space.md").read_text(), locked, project, source or source_of(root))
    (folder / "README.md").write_text(text)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def source_of(root: Path) -> str:
    """The repository's address on the web: that of the workflow's run, or of the remote `origin` without its key."""
    if os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{os.environ['GITHUB_REPOSITORY']}"
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    url = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    found = re.search(r"(?:^git@|://(?:[^@/]*@)?)(?P<host>[\w.-]+)(?::\d+)?[:/](?P<path>[\w./-]+?)(?:\.git)?$", url)
    return f"https://{found['host']}/{found['path']}" if found else "https://github.com"


def upload(folder: Path, space: str, message: str) -> str:
    """Make the Space what the folder is, in one commit; returns the commit's address."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hub = HfApi()
    hub.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
    have = {name: variable.value for name, variable in hub.get_space_variables(space).items()}
    for name, value in VARIABLES.items():
        if have.get(name) != value:
            hub.add_space_variable(space, name, value)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    gone = [name for name in hub.list_repo_files(space, repo_type="space") if name not in files and name not in KEPT]
    operations = [
        *(CommitOperationAdd(name, path) for name, path in files.items()),
        *(CommitOperationDelete(name) for name in gone),
    ]
    return str(hub.create_commit(space, operations, commit_message=message, repo_type="space").commit_url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="put it together there, and send nothing")
    space, folder = os.environ.get("SPACE", ""), parser.parse_args().folder
    try:
        if folder:
            print("\n".join(assemble(folder, space or "your-name/seefood102")))
            return 0
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", space):
            raise SpaceError("SPACE names no Space. Set it to your-name/name-of-the-space.")
        with TemporaryDirectory() as temporary:
            assemble(Path(temporary), space)
            print(upload(Path(temporary), space, f"Mirror of {os.environ.get('GITHUB_SHA', 'a working copy')[:12]}"))
    except SpaceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
