"""Push an image to a registry, and print repository@digest: the name by which it is deployed.

    python -m deploy.push docker-daemon:seefood102:latest seefood102 TAG           to ECR, in your account and region
    python -m deploy.push containers-storage:localhost/seefood102:latest 127.0.0.1:5000/seefood102 TAG --plain

The image is named as skopeo names it. ECR's password comes from the standard AWS chain and is gone afterwards. A tag
that is there already stays what it is, since tags are immutable: the digest printed is then that of the earlier push.
"""

import argparse
import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")


class PushError(Exception):
    """The image is not in the registry."""


def skopeo(*arguments: str, login: Path, words: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "REGISTRY_AUTH_FILE": str(login)}
    try:
        return subprocess.run(["skopeo", *arguments], env=environment, input=words, capture_output=True, check=False)
    except FileNotFoundError:
        raise PushError("skopeo is not installed. Debian and Ubuntu have it: apt-get install skopeo") from None


def ecr_address(name: str) -> str:
    """The address of a repository in ECR, in the account and region of the standard AWS chain."""
    import boto3

    session = boto3.Session()
    if not session.region_name:
        raise PushError(f"{name}: in which region? Set AWS_DEFAULT_REGION, or write the registry's whole address.")
    account = session.client("sts").get_caller_identity()["Account"]
    suffix = ".cn" if session.get_partition_for_region(session.region_name) == "aws-cn" else ""
    return f"{account}.dkr.ecr.{session.region_name}.amazonaws.com{suffix}/{name}"


def ecr_password(account: str, region: str, client: Any = None) -> str:
    """The password of the user AWS, good for twelve hours."""
    import boto3

    client = client or boto3.client("ecr", region_name=region)
    (answer,) = client.get_authorization_token(registryIds=[account])["authorizationData"]
    return base64.b64decode(answer["authorizationToken"]).decode().partition(":")[2]


def push(image: str, repository: str, tag: str, *, plain: bool = False, client: Any = None) -> str:
    """Copy the image to `repository:tag`, unless there is one; returns its digest, "sha256:...".

    Args:
        image: as skopeo names it: docker-daemon:name:tag, containers-storage:name, oci-archive:file, ...
        repository: the registry's address and the repository's name.
        tag: the git commit.
        plain: the registry speaks HTTP, as one on loopback does.
        client: boto3's ECR client; default: the standard AWS chain.

    Raises:
        PushError: with what skopeo said.
    """
    target = f"docker://{repository}:{tag}"
    with TemporaryDirectory() as folder:
        login, digest_file = Path(folder, "login.json"), Path(folder, "digest")
        host = repository.partition("/")[0]
        if registry := ECR.fullmatch(host):
            password = ecr_password(registry["account"], registry["region"], client)
            # By standard input: what is on a command line, every user of the machine can read.
            done = skopeo("login", "--username", "AWS", "--password-stdin", host, login=login, words=password.encode())
            if done.returncode:
                raise PushError(f"{host}: no login: {done.stderr.decode().strip()}")
        there = skopeo("inspect", "--raw", f"--tls-verify={not plain}".lower(), target, login=login)
        if there.returncode == 0:
            print(f"{repository}:{tag} is there already, and is left as it is.", file=sys.stderr)
            return f"sha256:{hashlib.sha256(there.stdout).hexdigest()}"  # of the manifest, as it was sent
        verify = f"--dest-tls-verify={not plain}".lower()
        done = skopeo("copy", verify, "--digestfile", str(digest_file), image, target, login=login)
        if done.returncode:
            raise PushError(f"{image} is not in {repository}: {done.stderr.decode().strip()}")
        return digest_file.read_text().strip()


def main() -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="as skopeo names it")
    parser.add_argument("repository", help="registry/name; a name alone is one of ECR")
    parser.add_argument("tag", help="the git commit")
    parser.add_argument("--plain", action="store_true", help="the registry speaks HTTP")
    arguments = parser.parse_args()
    try:
        repository = arguments.repository if "/" in arguments.repository else ecr_address(arguments.repository)
        digest = push(arguments.image, repository, arguments.tag, plain=arguments.plain)
    except (PushError, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{repository}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
