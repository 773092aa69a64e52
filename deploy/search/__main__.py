"""The command line of deploy.search."""

import argparse
import sys

import httpx

import deploy.search
from deploy.search.domain import Domain, SearchError
from deploy.stack import Stack


def main() -> int:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    parser = argparse.ArgumentParser(
        prog="python -m deploy.search",
        description=deploy.search.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stack", default="seefood102-search", help="default: %(default)s")
    stack = parser.parse_args().stack
    try:
        outputs = Stack(stack).outputs()
        if not outputs:
            raise SearchError(f"There is no stack {stack} in this account and region: make it of deploy/search.yaml.")
        Domain(outputs["Endpoint"], boto3.Session()).set_up(outputs["WriterRoleArn"])
    except (SearchError, httpx.HTTPError, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{outputs['Endpoint']} has fields, retention, rights and dashboard.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
