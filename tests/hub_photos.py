"""A stand-in of the Hugging Face Hub: as much of its API as reading a data set takes; tests/hub.py takes a Space."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0" * 40


class Handler(BaseHTTPRequestHandler):
    """Answers about one data set, whose files by name are `server.files`."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, content: Any, status: int = 200, **headers: str) -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content_Length": str(len(content))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def answer(self) -> None:
        path, name = self.path.partition("?")[0], self.server.name
        if found := re.fullmatch(rf"/datasets/{name}/resolve/\w+/(.*)", path):
            self.send_file(found[1])
        elif found := re.fullmatch(rf"/api/datasets/{name}/tree/{COMMIT}/?(.*)", path):
            self.list_folder(found[1])
        elif re.fullmatch(rf"/api/datasets/{name}(/revision/{COMMIT})?", path):
            self.reply({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in self.server.files]})
        else:
            self.reply({"error": "not known here"}, 404)

    do_GET = do_HEAD = answer  # noqa: N815

    def send_file(self, name: str) -> None:
        content = self.server.files.get(name)
        if content is None:
            return self.reply({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        facts = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X_Repo_Commit": COMMIT}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or ""):
            first, last = map(int, asked.groups())
            return self.reply(
                content[first : last + 1], 206, Content_Range=f"bytes {first}-{last}/{len(content)}", **facts
            )
        return self.reply(content, **facts)

    def list_folder(self, folder: str) -> None:
        inside = {file: content for file, content in self.server.files.items() if file.startswith(folder)}
        entries = [
            {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha256(content).hexdigest()}
            for file, content in inside.items()
        ]
        folders = {file.rpartition("/")[0] for file in inside} - {folder, ""}
        self.reply(entries + [{"type": "directory", "path": path, "oid": COMMIT} for path in folders])


@contextmanager
def running_hub_of_photos(name: str, files: dict[str, bytes]) -> Iterator[str]:
    """The address of the stand-in, which has one data set."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.name, server.files = name, files
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
