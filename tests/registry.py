"""A real registry on loopback, Debian's docker-registry: what ECR is to a push and a pull."""

import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from serving import free_port


@contextmanager
def running_registry():
    """Yields the address; what was pushed is gone afterwards."""
    address = f"127.0.0.1:{free_port()}"
    with TemporaryDirectory() as folder, Path(folder, "output.txt").open("w+") as output:
        settings = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": f"{folder}/images"}},
            "http": {"addr": address},
        }
        Path(folder, "config.yml").write_text(json.dumps(settings))
        command = ["docker-registry", "serve", f"{folder}/config.yml"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while not answers(address):
                assert process.poll() is None, Path(output.name).read_text()
                assert time.monotonic() < deadline, "the registry did not answer in a minute"
                time.sleep(0.2)
            yield address
        finally:
            process.kill()
            process.wait()


def answers(address):
    try:
        return httpx.get(f"http://{address}/v2/").status_code == 200
    except httpx.ConnectError:
        return False
