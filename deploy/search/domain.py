"""An OpenSearch domain that lets IAM in, and what SeeFood102 keeps in it."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

FILES = Path(__file__).parent
NAME = "seefood102"  # of template, policy and dashboard; the writer's role is NAME-writer


class SearchError(Exception):
    """The domain did not take it."""


class SignedByIam(httpx.Auth):
    """Signature Version 4 by botocore, with the credentials and the region of a boto3 session."""

    requires_request_body = True

    def __init__(self, session: Any):
        self._session = session

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        signed = AWSRequest(request.method, str(request.url), data=request.content)
        SigV4Auth(self._session.get_credentials(), "es", self._session.region_name).add_auth(signed)
        request.headers.update(dict(signed.headers))
        yield request


class Domain:
    """One OpenSearch domain.

    domain = Domain("https://search-....es.amazonaws.com", boto3.Session())
    domain.set_up("arn:aws:iam::...:role/seefood102-search")
    """

    def __init__(self, endpoint: str, session: Any):
        """
        Args:
            endpoint: its address, without a slash at the end.
            session: boto3's, of the domain's AdminArn, with a region.
        """
        self._client = httpx.Client(base_url=endpoint, auth=SignedByIam(session), timeout=60)

    def set_up(self, writer: str) -> None:
        """Put everything in, or in place of what is there; the writer last, so that no line comes before its fields.

        Args:
            writer: the ARN of the role that writes the log into the domain.

        Raises:
            SearchError: with what the domain said.
        """
        self._ask("PUT", f"/_index_template/{NAME}", json=_read("index-template.json"))
        self._put_retention()
        self._import_dashboard()
        self._ask("PUT", f"/_plugins/_security/api/roles/{NAME}-writer", json=_read("writer.json"))
        mapping = {"backend_roles": [writer]}
        self._ask("PUT", f"/_plugins/_security/api/rolesmapping/{NAME}-writer", json=mapping)

    def _put_retention(self) -> None:
        """A policy that is there is replaced only by who says which version he has seen."""
        path = f"/_plugins/_ism/policies/{NAME}"
        seen = self._ask("GET", path, or_none=True)
        version = {"if_seq_no": seen["_seq_no"], "if_primary_term": seen["_primary_term"]} if seen else {}
        self._ask("PUT", path, params=version, json=_read("retention.json"))

    def _import_dashboard(self) -> None:
        file = ("dashboard.ndjson", (FILES / "dashboard.ndjson").read_bytes(), "application/ndjson")
        headers = {"osd-xsrf": "true", "securitytenant": "global"}  # where everybody who looks finds it
        path = "/_dashboards/api/saved_objects/_import"
        answer = self._ask("POST", path, params={"overwrite": "true"}, files={"file": file}, headers=headers)
        if not answer["success"]:  # which comes with status 200
            raise SearchError(f"{path}: {answer['errors']}")

    def _ask(self, method: str, path: str, *, or_none: bool = False, **content: Any) -> Any:
        response = self._client.request(method, path, **content)
        if or_none and response.status_code == 404:
            return None
        if response.is_error:
            raise SearchError(f"{method} {path}: status {response.status_code}: {response.text}")
        return response.json()


def _read(name: str) -> Any:
    return json.loads((FILES / name).read_text())
