"""A real nginx, for the tests of what stands before the app."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

CONF = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {sites}
}}
"""


@contextmanager
def started_nginx(folder, port, sites):
    """nginx with its files in `folder`, and what its `http` block holds: a server that listens on `port`, at least."""
    user = "" if os.geteuid() else "user root;"  # else its workers could not write into the folder
    (folder / "nginx.conf").write_text(CONF.format(folder=folder, user=user, sites=sites))
    process = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        deadline = time.monotonic() + 30
        with socket.socket() as caller:
            while caller.connect_ex(("127.0.0.1", port)):
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()
