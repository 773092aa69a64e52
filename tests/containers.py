"""What the tests of the image share: its name, and buildah, which keeps it."""

import os
import subprocess

import pytest

IMAGE = os.environ.get("SEEFOOD_IMAGE", "")
NEEDS_IMAGE = [
    pytest.mark.container,
    pytest.mark.skipif(not IMAGE, reason="no image is built: make container-test does it"),
]


def buildah(*arguments):
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True).stdout.strip()
