"""The command line of doctor: prints each finding with its remedy; exit code 1 when there is one."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import deploy.doctor
from deploy.doctor.account import check_account
from deploy.doctor.files import check_dockerfile, check_workflow
from deploy.doctor.findings import Finding
from deploy.doctor.network import check_network
from deploy.doctor.roles import check_roles
from deploy.doctor.service import check_service
from deploy.doctor.templates import Template

_ANYONE = {"GitHubOwner": "owner", "GitHubRepository": "repository", "GitHubOwnerId": "1", "GitHubRepositoryId": "2"}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.doctor",
        description=deploy.doctor.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--foundation", type=Path, default=Path("deploy/foundation.yaml"))
    parser.add_argument("--service", type=Path, default=Path("deploy/service.yaml"))
    parser.add_argument("--dockerfile", type=Path, default=Path("Dockerfile"))
    parser.add_argument("--workflow", type=Path, default=Path(".github/workflows/deploy.yml"))
    parser.add_argument("--app", type=Path, default=Path("seefood/serving/server.py"), help="where the routes are")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of service.yaml")
    parser.add_argument(
        "--repository", default="", help="OWNER/NAME, or OWNER@ID/NAME@ID as GitHub signs it since 2026"
    )
    parser.add_argument("--branch", default="main")
    parser.add_argument("--strict", action="store_true", help="a file that is not there is a finding, too")
    parser.add_argument("--offline", action="store_true", help="do not look at the account")
    return parser.parse_args(given)


def findings(options: argparse.Namespace) -> Iterator[Finding]:
    service = Template(options.service, dict(pair.split("=", 1) for pair in options.set))
    foundation = Template(options.foundation, {**_ANYONE, "Name": service.parameters["Name"], "Branch": options.branch})
    branch = f"ref:refs/heads/{options.branch}"
    subjects = [f"repo:owner/repository:{branch}", f"repo:owner@1/repository@2:{branch}"]
    yield from check_service(service, options.app)
    yield from check_network(service)
    yield from check_roles(foundation, service, subjects)
    for path, check in ((options.dockerfile, check_dockerfile), (options.workflow, check_workflow)):
        if path.is_file():
            yield from check(path, service)
        elif options.strict:
            yield Finding("file-missing", f"There is no {path}.")
    if options.offline:
        return
    import boto3

    session = boto3.Session()
    if session.get_credentials() is None:
        print("The account was not looked at: there are no credentials for it.", file=sys.stderr)
        return
    subject = f"repo:{options.repository}:{branch}" if options.repository else ""
    yield from check_account(session, service, subject)


def main(given: list[str] | None = None) -> int:
    found = list(findings(arguments(given)))
    for finding in found:
        print(finding)
    print(f"{len(found)} found." if found else "Nothing found that would keep the service from coming up.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
