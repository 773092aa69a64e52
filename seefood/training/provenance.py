"""Which version of this repository made a file."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The git commit of this checkout: 12 hex digits, and "-dirty" when files were changed since; else "unknown"."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
