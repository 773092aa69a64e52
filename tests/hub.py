"""A stand-in of the Hugging Face Hub: as much of its API as making a Space and committing to it takes."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import yaml

LARGE = ".onnx"  # what the .gitattributes of a new repository on the Hub stores apart, among others


class Hub:
    """What the stand-in has of one Space.

    Attributes:
        space: its name.
        files: the Space's files by name.
        variables: its environment variables.
        commits: the summary of each commit.
        stored: large files by their SHA-256, before and after they are committed.
        sdk: of the Space, once it is made.
    """

    def __init__(self, space):
        self.space = space
        self.files, self.variables, self.commits, self.stored, self.sdk = {}, {}, [], {}, ""

    def oid(self, name):
        content = self.files.get(name)
        if content is None:
            return None
        if name.endswith(LARGE):
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
    """Answers the calls of one Space, which `server.hub` is."""

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
        if self.command != "PUT" and self.headers.get("Authorization") != "Bearer hf_testing":
            return self.reply({"error": "no token"}, 401)
        call = f"{self.command} {path.replace(self.hub.space, 'SPACE')}"
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
        asked, made = json.loads(body), bool(self.hub.sdk)
        self.hub.sdk = self.hub.sdk or asked["sdk"]
        self.hub.files.setdefault(".gitattributes", b"*.onnx filter=lfs diff=lfs merge=lfs -text\n")
        self.reply({"url": f"{self.address}/spaces/{self.hub.space}"}, 409 if made else 200)

    def space(self, _):
        self.reply({"id": self.hub.space, "sha": "0" * 40})

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
        right = {facts["colorFrom"], facts["colorTo"]} <= colors and len(facts["short_description"]) <= 60
        errors = [] if right else [{"message": "invalid front matter"}]
        self.reply({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, body):
        self.reply(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
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
        url = f"{self.address}/spaces/{self.hub.space}/commit/{number}"
        self.reply({"success": True, "commitUrl": url, "commitOid": number})


@contextmanager
def running_hub(space):
    """The stand-in, and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(space)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.hub, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


CALLS = {
    "POST /api/repos/create": "create",
    "GET /api/spaces/SPACE/revision/main": "space",
    "GET /api/spaces/SPACE/variables": "get_variables",
    "POST /api/spaces/SPACE/variables": "set_variable",
    "GET /api/spaces/SPACE/tree/main": "tree",
    "POST /api/validate-yaml": "validate",
    "POST /api/spaces/SPACE/preupload/main": "preupload",
    "POST /spaces/SPACE.git/info/lfs/objects/batch": "batch",
    "POST /api/spaces/SPACE/commit/main": "commit",
}
