"""A real registry on loopback, Debian's docker-registry: what ECR is to a push and a pull."""

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
from serving import free_port


@contextmanager
def running_registry(folder, *, http=None, auth=None):
    """A registry that keeps its images in `folder`; yields its port on loopback.

    `http` and `auth` are settings of its own, where it does not speak plain HTTP to everybody.
    """
    if not shutil.which("docker-registry") or not shutil.which("skopeo"):
        pytest.skip("no docker-registry and skopeo here: apt-get install docker-registry skopeo")
    port = free_port()
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": f"{folder}/images"}},
        "http": {"addr": f"127.0.0.1:{port}", **(http or {})},
        **({"auth": auth} if auth else {}),
    }
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "output.txt").open("w") as output:
        command = ["docker-registry", "serve", folder / "config.yml"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        with socket.socket() as caller:
            while caller.connect_ex(("127.0.0.1", port)):
                assert process.poll() is None, (folder / "output.txt").read_text()
                assert time.monotonic() < deadline, "the registry did not answer in a minute"
                time.sleep(0.2)
        yield port
    finally:
        process.kill()
        process.wait()
