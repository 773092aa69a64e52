"""Run a script as the container does, without the training packages, and without a network:

    python tests/guarded_app.py LOG SCRIPT

Connections and name look-ups to another host than this one are refused and noted in LOG, one a line.
"""

import ipaddress
import runpy
import sys
from pathlib import Path

TRAINING_PACKAGES = ("torch", "torchvision", "torchmetrics", "timm", "lightning", "pytorch_lightning", "datasets")


def is_here(host):
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


def guard(log):
    def refuse(event, arguments):
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else None  # a Unix socket has a path, or nothing
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
            host = arguments[0]
        else:
            return
        if not is_here(host):
            log.write(f"{event} {host}\n")
            raise PermissionError(f"{event}: {host} is another host")

    sys.addaudithook(refuse)


if __name__ == "__main__":
    log_file, script = sys.argv[1:]
    for package in TRAINING_PACKAGES:
        sys.modules[package] = None  # importing it raises ModuleNotFoundError
    guard(open(log_file, "a", buffering=1))  # noqa: SIM115  (open as long as the process runs)
    sys.argv, sys.path[0] = [script], str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
