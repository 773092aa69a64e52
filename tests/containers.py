"""What the tests of the image share: its name, buildah, which keeps it, and how podman runs it."""

import os
import subprocess

import pytest

IMAGE = os.environ.get("SEEFOOD_IMAGE", "")
NEEDS_IMAGE = [
    pytest.mark.container,
    pytest.mark.skipif(not IMAGE, reason="no image is built: make container-test does it"),
]
# A machine that is a container itself may raise no limit, and crun refuses to run where old and new cgroups are mixed.
PODMAN = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


def buildah(*arguments):
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True).stdout.strip()
