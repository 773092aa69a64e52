"""The push, to a real registry on loopback, as ECR is one; and ECR's password, which no command line may show."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.stub import Stubber
from serving import ROOT

from deploy.push import PushError, push

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
OCI = "application/vnd.oci.image"


def image(folder, words):
    """An image of no layers in OCI's layout; its configuration has the words. Returns skopeo's name of it."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(kind, value):
        content = json.dumps(value).encode()
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"{OCI}.{kind}.v1+json", "digest": f"sha256:{digest}", "size": len(content)}

    facts = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": [words]},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    configuration = blob("config", facts)
    kind = f"{OCI}.manifest.v1+json"
    manifest = blob("manifest", {"schemaVersion": 2, "mediaType": kind, "config": configuration, "layers": []})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return f"oci:{folder}"


def test_the_command_prints_the_name_under_which_the_registry_has_the_image(registry, tmp_path):
    source = image(tmp_path / "image", "python")
    command = [sys.executable, "-m", "deploy.push", source, f"{registry}/seefood102", "abc123", "--plain"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    repository, digest = done.stdout.strip().split("@")
    assert repository == f"{registry}/seefood102"
    for reference in (digest, "abc123"):
        accept = {"Accept": f"{OCI}.manifest.v1+json"}
        manifest = httpx.get(f"http://{registry}/v2/seefood102/manifests/{reference}", headers=accept)
        assert f"sha256:{hashlib.sha256(manifest.content).hexdigest()}" == digest
    facts = httpx.get(f"http://{registry}/v2/seefood102/blobs/{manifest.json()['config']['digest']}").json()
    assert facts["config"]["Cmd"] == ["python"]


def test_a_tag_that_is_there_stays_what_it_is(registry, tmp_path, capsys):
    first = push(image(tmp_path / "first", "first"), f"{registry}/again", "abc123", plain=True)
    again = push(image(tmp_path / "second", "second"), f"{registry}/again", "abc123", plain=True)
    assert again == first
    assert "again:abc123 is there already" in capsys.readouterr().err
    assert push(f"oci:{tmp_path}/second", f"{registry}/again", "def456", plain=True) != first


def test_an_image_that_is_not_there_is_an_error_with_skopeos_words(registry, tmp_path):
    with pytest.raises(PushError, match=r"nothing.*is not in .*/seefood102: .*no such file"):
        push(f"oci:{tmp_path}/nothing", f"{registry}/seefood102", "none", plain=True)


def test_ecrs_password_is_on_no_command_line_and_in_no_file_afterwards(tmp_path, monkeypatch):
    """Skopeo is a stand-in here, which notes what it is given; ECR itself is not to be had."""
    notes = tmp_path / "notes"
    stand_in = tmp_path / "skopeo"
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" >> {notes}\n'
        f'case $1 in login) cat > "$REGISTRY_AUTH_FILE"; cp "$REGISTRY_AUTH_FILE" {notes}.login;\n'
        f'    echo "$REGISTRY_AUTH_FILE" > {notes}.where;;\n'
        "inspect) exit 1;;\n"
        'copy) echo sha256:123 > "$4";; esac\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    client = boto3.client("ecr", "eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106
    with Stubber(client) as stub:
        token = base64.b64encode(b"AWS:a-secret").decode()
        answer = {"authorizationData": [{"authorizationToken": token}]}
        stub.add_response("get_authorization_token", answer, {"registryIds": ["123456789012"]})
        assert push("oci:image", f"{ECR}/seefood102", "abc", client=client) == "sha256:123"
    lines = notes.read_text().splitlines()
    assert lines[0] == f"login --username AWS --password-stdin {ECR}"
    assert lines[-1].endswith(f"oci:image docker://{ECR}/seefood102:abc")
    assert "--dest-tls-verify=true" in lines[-1]
    assert "a-secret" not in notes.read_text()
    assert (tmp_path / "notes.login").read_text() == "a-secret"
    login = Path((tmp_path / "notes.where").read_text().strip())
    assert login.is_absolute()
    assert not login.exists()


def test_without_skopeo_it_says_where_that_is_to_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PushError, match="apt-get install skopeo"):
        push("oci:image", "127.0.0.1:1/seefood102", "abc", plain=True)
