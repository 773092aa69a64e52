"""ECR's registry as skopeo meets it: HTTPS at its own address, and a password. Behind it is a real registry of our own.

moto answers ECR's API and keeps no images; AWS's registry is not to be had. Names are not looked up: whoever speaks to
the address goes through a proxy here, and trusts a certificate that is made here.
"""

import asyncio
import subprocess
import threading
from contextlib import contextmanager

from registry import running_registry

HASH = "print crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu))"  # bcrypt, the one that the registry takes


@contextmanager
def registry_of_ecr(host, password, folder):
    """The environment in which skopeo finds a registry at `host`, which lets the user AWS in with `password`."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ecr -addext subjectAltName=DNS:{host}"
    files = ["-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    hashed = subprocess.run(["perl", "-e", HASH, password], check=True, capture_output=True, text=True).stdout
    (folder / "users").write_text(f"AWS:{hashed}\n")
    http = {"tls": {"certificate": str(certificate), "key": str(key)}}
    auth = {"htpasswd": {"realm": "ecr", "path": str(folder / "users")}}
    with running_registry(folder, http=http, auth=auth) as port, proxy_to(host, port) as proxy:
        yield {"HTTPS_PROXY": f"http://127.0.0.1:{proxy}", "SSL_CERT_FILE": str(certificate)}


@contextmanager
def proxy_to(host, port):
    """The port of a proxy that leads those who ask for `host:443`, and nobody else, to a port of this machine."""
    loop = asyncio.new_event_loop()

    async def serve(reader, writer):
        asked = (await reader.readuntil(b"\r\n\r\n")).decode().split()[:2]
        if asked != ["CONNECT", f"{host}:443"]:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        there = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    async def copy(reader, writer):
        while content := await reader.read(1 << 16):
            writer.write(content)
            await writer.drain()
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
