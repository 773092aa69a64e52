"""A stand-in of the Hugging Face Hub: as much of its API as making a repository and committing to it takes."""

import base64
import hashlib
import json
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import yaml

LARGE = ("*.onnx", "*.ckpt", "*tfevents*")  # what the .gitattributes of a new repository stores apart, among others


def is_large(name):
    return any(fnmatch(name, pattern) for pattern in LARGE)


class Hub:
    """What the stand-in has of one repository.

    Attributes:
        name: its name.
        kind: "space" or "model".
        made: what was asked for when it was made; None until then.
        files: its files by name.
        variables: its environment variables, if it is a Space.
        commits: the summary of each commit.
        stored: large files by their SHA-256, before and after they are committed.
        answers: False hangs up on every call.
    """

    def __init__(self, name, kind):
        self.name, self.kind, self.made, self.answers = name, kind, None, True
        self.files, self.variables, self.commits, self.stored = {}, {}, [], {}

    def oid(self, name):
        content = self.files.get(name)
        if content is None:
            return None
        if is_large(name):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324  (as git does)

    def commit(self, lines):
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header":
                self.commits.append(value["summary"])
            elif key == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                self.files[value["path"]] = self.stored[value["oid"]]
            elif key == "deletedFile":
                del self.files[value["path"]]
            else:
                raise ValueError(f"{key}: not known here")


class Handler(BaseHTTPRequestHandler):
    """Answers the calls of one repository, which `server.hub` is; one token may write, another only read."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle_call(self):
        body, path = self.body(), self.path.partition("?")[0]
        if not self.hub.answers:
            self.close_connection = True
            return None
        right = {"Bearer hf_testing": "write", "Bearer hf_reading": "read"}.get(self.headers.get("Authorization"))
        if self.command != "PUT" and not right:
            return self.reply({"error": "no token"}, 401)
        if self.command == "POST" and right == "read":
            return self.reply({"error": "the token may not write"}, 403)
        call = f"{self.command} {path.replace(f'{self.hub.kind}s/{self.hub.name}', 'REPOSITORY')}"
        call = call.replace(self.hub.name, "REPOSITORY")  # git's address of a model has no `models/`
        if call.startswith("PUT /stored/"):
            oid = path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != oid:
                return self.reply({"error": "another content"}, 400)
            self.hub.stored[oid] = body
            return self.reply({})
        answer = getattr(self, CALLS.get(call, "unknown"))
        return answer(body)

    do_GET = do_POST = do_PUT = handle_call  # noqa: N815

    def unknown(self, _):
        self.reply({"error": f"{self.command} {self.path}: not known here"}, 404)

    def create(self, body):
        asked, is_there = json.loads(body), self.hub.made is not None
        if f"{asked['organization']}/{asked['name']}" != self.hub.name:
            return self.reply({"error": "not your name"}, 403)
        self.hub.made = self.hub.made or asked
        lines = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE)
        self.hub.files.setdefault(".gitattributes", lines.encode())
        return self.reply({"url": self.url}, 409 if is_there else 200)

    @property
    def url(self):
        return f"{self.address}/{'spaces/' if self.hub.kind == 'space' else ''}{self.hub.name}"

    def info(self, _):
        self.reply({"id": self.hub.name, "sha": "0" * 40})

    def get_variables(self, _):
        self.reply({name: {"value": value} for name, value in self.hub.variables.items()})

    def set_variable(self, body):
        asked = json.loads(body)
        self.hub.variables[asked["key"]] = asked["value"]
        self.get_variables(body)

    def tree(self, _):
        self.reply(
            [
                {"type": "file", "path": name, "size": len(content), "oid": self.hub.oid(name)}
                for name, content in self.hub.files.items()
            ]
        )

    def validate(self, body):
        asked = json.loads(body)
        facts = yaml.safe_load(asked["content"].split("---")[1])
        colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
        if asked["repoType"] == "space":
            right = {facts["colorFrom"], facts["colorTo"]} <= colors and len(facts["short_description"]) <= 60
        else:
            right = all(isinstance(tag, str) for tag in facts["tags"]) and isinstance(facts.get("base_model", ""), str)
        errors = [] if right else [{"message": "invalid front matter"}]
        self.reply({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, body):
        self.reply(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                        "shouldIgnore": False,
                        "oid": self.hub.oid(file["path"]),
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        )

    def batch(self, body):
        objects = [
            {**file, "actions": {"upload": {"href": f"{self.address}/stored/{file['oid']}"}}}
            for file in json.loads(body)["objects"]
        ]
        self.reply({"transfer": "basic", "objects": objects})

    def commit(self, body):
        self.hub.commit(json.loads(line) for line in body.splitlines() if line)
        number = f"{len(self.hub.commits):040}"
        self.reply({"success": True, "commitUrl": f"{self.url}/commit/{number}", "commitOid": number})


@contextmanager
def running_hub(name, kind="space"):
    """The stand-in, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(name, kind)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.hub, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


CALLS = {
    "POST /api/repos/create": "create",
    "GET /api/REPOSITORY": "info",
    "GET /api/REPOSITORY/revision/main": "info",
    "GET /api/REPOSITORY/variables": "get_variables",
    "POST /api/REPOSITORY/variables": "set_variable",
    "GET /api/REPOSITORY/tree/main": "tree",
    "POST /api/validate-yaml": "validate",
    "POST /api/REPOSITORY/preupload/main": "preupload",
    "POST /REPOSITORY.git/info/lfs/objects/batch": "batch",
    "POST /api/REPOSITORY/commit/main": "commit",
}
