"""A stand-in for an OpenSearch domain: no server of OpenSearch can be had here.

It is a real HTTP server that checks each signature over what arrived, keeps what is put, and has of OpenSearch two
habits: a policy is replaced only by who names its version, and an import that failed has status 200. Whether OpenSearch
understands what it is given, it cannot tell.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "eu-central-1"
KEY, SECRET = "AKIDEXAMPLE", "a-secret"


class Domain:
    """What a stand-in was asked, and what it keeps.

    Attributes:
        url: its address.
        asked: method, path, query, headers and body of each request that was signed as it must be, in order.
        kept: by path, what was put there.
        bulk: what it answers to _bulk.
        imported: what it answers to an import of saved objects.
    """

    def __init__(self, url: str):
        self.url = url
        self.asked: list[tuple[str, str, dict, dict, bytes]] = []
        self.kept: dict[str, dict] = {}
        self.bulk = {"errors": False, "items": []}
        self.imported = {"success": True}

    def answer(self, method, target, headers, body) -> tuple[int, dict]:
        if signature(self.url, method, target, headers, body) not in headers["Authorization"]:
            return 403, {"message": "The request signature we calculated does not match the signature you provided."}
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))
        self.asked.append((method, path, query, headers, body))
        if method == "GET":
            return (200, {"_seq_no": 7, "_primary_term": 1}) if path in self.kept else (404, {})
        if method == "POST":
            return 200, self.bulk if path == "/_bulk" else self.imported
        if "_ism" in path and path in self.kept and query != {"if_seq_no": "7", "if_primary_term": "1"}:
            return 409, {"error": "version conflict"}
        self.kept[path] = json.loads(body)
        return 201, {}


def signature(url, method, target, headers, body) -> str:
    """What the signature must be, of what arrived."""
    names = re.search(r"SignedHeaders=([^,]+)", headers["Authorization"])[1].split(";")
    assert {"host", "x-amz-date"} <= set(names)
    request = AWSRequest(method, url + target, {name: headers[name] for name in names}, body)
    request.context["timestamp"] = headers["X-Amz-Date"]
    signer = SigV4Auth(Credentials(KEY, SECRET), "es", REGION)
    canonical = signer.canonical_request(request)
    return f"Signature={signer.signature(signer.string_to_sign(request, canonical), request)}"


@contextmanager
def search_domain() -> Iterator[Domain]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = domain.answer(self.command, self.path, self.headers, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _any  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    domain = Domain(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield domain
    finally:
        server.shutdown()
        server.server_close()
