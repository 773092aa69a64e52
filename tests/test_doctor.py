# ruff: noqa: E501 (the table of what is broken is read line by line)
"""Doctor names what is broken, and nothing else: one thing broken at a time, in a copy of the files or in an account of moto.

moto starts no task, and holds nobody to IAM: what is seen here is that doctor reads the account, not that AWS obeys it.
"""

import hashlib
import json
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import boto3
import pytest
from foundation import create_foundation
from moto import mock_aws
from moto.core.responses import ActionResult
from moto.ecr.responses import ECRResponse
from serving import ROOT

from deploy.doctor.__main__ import arguments, findings, main
from deploy.doctor.findings import REMEDIES

REGION = "eu-central-1"
WORKFLOW = """
permissions: {contents: read}
jobs:
  deploy:
    permissions: {contents: read, id-token: write}
    steps:
      - uses: aws-actions/configure-aws-credentials@v5
      - run: docker build --platform linux/amd64 --tag seefood102 . && docker run --publish 7860:7860 seefood102
"""

# code, file, what stands there, what breaks it
BROKEN_FILES = [
    ("balancer-shut-out", "service.yaml", "SourceSecurityGroupId: !GetAtt BalancerSecurityGroup", "SourceSecurityGroupId: !GetAtt TaskSecurityGroup"),
    ("balancer-shut-out", "service.yaml", "FromPort: !FindInMap [App, Container, Port]\n      ToPort: !FindInMap [App, Container, Port]\n      SourceS", "FromPort: 80\n      ToPort: 80\n      SourceS"),
    ("balancer-shut-out", "service.yaml", "ToPort: !FindInMap [App, Container, Port]\n          DestinationS", "ToPort: 80\n          DestinationS"),
    ("command-not-found", "Dockerfile", 'CMD ["python", "app.py"]', 'CMD ["python", "main.py"]'),
    ("command-not-found", "Dockerfile", 'CMD ["python", "app.py"]', "CMD python -m seefood.web"),
    ("command-not-found", "Dockerfile", "COPY app.py LICENSE ./", "COPY LICENSE ./"),
    ("command-not-found", "Dockerfile", "COPY seefood seefood\n", ""),
    ("command-not-found", "Dockerfile", "USER 10001", "WORKDIR /srv\nUSER 10001"),
    ("command-not-found", ".dockerignore", "!app.py\n", ""),
    ("command-not-found", ".dockerignore", "seefood/training", "seefood/serving"),
    ("command-not-found", "service.yaml", "Image: !Ref ImageUri\n", "Image: !Ref ImageUri\n          Command: [python, -m, seefood.web]\n"),
    ("container-name", "service.yaml", "- ContainerName: !FindInMap [App, Container, Name]", "- ContainerName: app"),
    ("cpu-memory", "service.yaml", 'Default: "2048"', 'Default: "1024"'),
    ("execution-role", "foundation.yaml", "Action: [logs:CreateLogStream, logs:PutLogEvents]", "Action: logs:PutLogEvents"),
    ("execution-role", "foundation.yaml", "Action: [ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer]", "Action: ecr:DescribeImages"),
    ("execution-role", "foundation.yaml", 'RoleName: !Sub "${Name}-execution"', 'RoleName: !Sub "${Name}-executor"'),
    ("execution-role", "service.yaml", "      ExecutionRoleArn:", "      X-ExecutionRoleArn:"),
    ("execution-role", "service.yaml", "awslogs-group: !Ref LogGroupName", 'awslogs-create-group: "true"\n              awslogs-group: !Ref LogGroupName'),
    ("health-command", "service.yaml", "- CMD\n              - python\n              - -c", "- CMD\n              - curl\n              - -f"),
    ("health-path", "service.yaml", "HealthCheckPath: !FindInMap [App, Container, HealthPath]", "HealthCheckPath: /health"),
    ("health-path", "service.yaml", "HealthCheckPath: !FindInMap [App, Container, HealthPath]", "HealthCheckPath: /classify"),
    ("health-path", "service.yaml", "127.0.0.1:${Port}${Path}", "127.0.0.1:${Port}/health"),
    ("no-grace-period", "service.yaml", "HealthCheckGracePeriodSeconds: 180", "HealthCheckGracePeriodSeconds: 0"),
    ("no-grace-period", "service.yaml", "      HealthCheckGracePeriodSeconds: 180\n", ""),
    ("no-id-token", "deploy.yml", ", id-token: write", ""),
    ("no-listener", "service.yaml", "DependsOn: [HttpListener, MetricsAreNotPublic, FromBalancerToTask]", "DependsOn: FromBalancerToTask"),
    ("no-public-address", "service.yaml", "Default: ENABLED", "Default: DISABLED"),
    ("no-route-to-ecr", "service.yaml", "      GatewayId: !Ref InternetGateway\n", ""),
    ("no-route-to-ecr", "service.yaml", "SubnetId: !Ref SubnetB\n", "SubnetId: !Ref SubnetA\n"),
    ("no-route-to-ecr", "service.yaml", "FromPort: 443\n          ToPort: 443\n          CidrIp: 0.0.0.0/0\n\n  # A", "FromPort: 80\n          ToPort: 80\n          CidrIp: 0.0.0.0/0\n\n  # A"),
    ("ports-differ", "service.yaml", "Port: !FindInMap [App, Container, Port]\n      HealthCheckPath", "Port: 8080\n      HealthCheckPath"),
    ("ports-differ", "service.yaml", "ContainerPort: !FindInMap [App, Container, Port]\n          TargetGroupArn", "ContainerPort: 80\n          TargetGroupArn"),
    ("ports-differ", "service.yaml", "GRADIO_SERVER_PORT, Value: !FindInMap [App, Container, Port]", "GRADIO_SERVER_PORT, Value: 8000"),
    ("ports-differ", "Dockerfile", "EXPOSE 7860", "EXPOSE 8080"),
    ("ports-differ", "service.yaml", "- ContainerPort: !FindInMap [App, Container, Port]", "- ContainerPort: 80"),
    ("ports-differ", "service.yaml", "127.0.0.1:${Port}${Path}", "127.0.0.1:8080${Path}"),
    ("ports-differ", "service.yaml", "HealthCheckPath: !", "HealthCheckPort: 8080\n      HealthCheckPath: !"),
    ("ports-differ", "Dockerfile", "GRADIO_SERVER_PORT=7860", "GRADIO_SERVER_PORT=8080"),
    ("ports-differ", "deploy.yml", "7860:7860", "8080:8080"),
    ("starved-health-check", "service.yaml", "StartPeriod: 120", "StartPeriod: 10"),
    ("starved-health-check", "service.yaml", "HealthCheckGracePeriodSeconds: 180", "HealthCheckGracePeriodSeconds: 10"),
    ("starved-health-check", "service.yaml", 'Default: "1024"', 'Default: "256"'),
    ("starved-health-check", "service.yaml", "Image: !Ref ImageUri\n", "Image: !Ref ImageUri\n          Memory: 512\n"),
    ("subject-not-trusted", "deploy.yml", "    steps:", "    environment: production\n    steps:"),
    ("target-type", "service.yaml", "      TargetType: ip # what Fargate's tasks are known by\n", ""),
    ("temporary-not-writable", "service.yaml", "ContainerPath: !FindInMap [App, Container, Temporary]", "ContainerPath: /data"),
    ("temporary-not-writable", "Dockerfile", "VOLUME /tmp", "VOLUME /data"),
    ("wrong-architecture", "service.yaml", "Default: X86_64", "Default: ARM64"),
    ("wrong-architecture", "deploy.yml", "linux/amd64", "linux/arm64"),
    ("wrong-architecture", "Dockerfile", "FROM ${BASE_IMAGE}\nCOPY", "FROM --platform=linux/arm64 ${BASE_IMAGE}\nCOPY"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


@pytest.fixture
def files(tmp_path):
    for name in ("deploy/foundation.yaml", "deploy/service.yaml", "Dockerfile", ".dockerignore", "app.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "seefood", tmp_path / "seefood", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "deploy.yml").write_text(WORKFLOW)
    return tmp_path


def options(files, *more):
    places = {
        "foundation": "foundation.yaml",
        "service": "service.yaml",
        "dockerfile": "Dockerfile",
        "workflow": "deploy.yml",
        "app": "seefood/serving/server.py",
    }
    return [*(f"--{option}={files / name}" for option, name in places.items()), *more]


def codes(files, *more):
    return {finding.code for finding in findings(arguments(options(files, *more)))}


def broken(files, name, old, new):
    text = (files / name).read_text()
    assert old in text
    (files / name).write_text(text.replace(old, new))


def test_nothing_is_found_in_files_that_are_as_they_should_be(files, capsys):
    assert main(options(files, "--strict")) == 0
    output = capsys.readouterr()
    assert "Nothing found" in output.out
    assert "no credentials" in output.err


@pytest.mark.parametrize(
    ("code", "name", "old", "new"), BROKEN_FILES, ids=[f"{b[0]}-{i}" for i, b in enumerate(BROKEN_FILES)]
)
def test_what_is_broken_in_a_file_is_named_and_nothing_else(code, name, old, new, files):
    broken(files, name, old, new)
    assert codes(files, "--offline") == {code}


def test_nothing_is_found_in_this_repository_as_it_is(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert list(findings(arguments(["--offline", "--strict"]))) == []


def test_with_a_certificate_the_service_must_wait_for_the_listener_that_does_not_merely_redirect(files):
    with_certificate = ("--offline", "--set=CertificateArn=arn:aws:acm:eu-central-1:1:certificate/1")
    assert codes(files, *with_certificate) == set()
    broken(files, "service.yaml", "[HttpListener, MetricsAreNotPublic, ", "[HttpListener, ")
    assert codes(files, "--offline") == set()
    assert codes(files, *with_certificate) == {"no-listener"}


def test_private_subnets_of_the_templates_own_network_need_a_nat_gateway_and_no_public_address(files):
    broken(files, "service.yaml", "Default: ENABLED", "Default: DISABLED")
    broken(files, "service.yaml", "      GatewayId: !Ref InternetGateway\n", "      NatGatewayId: !Ref Nat\n")
    assert codes(files, "--offline") == set()
    broken(files, "service.yaml", "      NatGatewayId: !Ref Nat\n", "")
    assert codes(files, "--offline") == {"no-route-to-ecr"}


@pytest.mark.parametrize(
    "command", ["python -u app.py", "python -m gradio", "python -m seefood.predictor", "sh -c true"]
)
def test_a_command_that_finds_its_module_or_is_not_pythons_is_left_alone(command, files):
    broken(files, "Dockerfile", 'CMD ["python", "app.py"]', f"CMD {command}")
    shutil.copy(ROOT / "requirements.lock", files)
    assert codes(files, "--offline") == set()


@pytest.mark.parametrize("form", ["}/${GitHubRepository}:ref", "@${GitHubRepositoryId}:ref"], ids=["names", "numbers"])
def test_a_role_that_lacks_either_form_of_githubs_subject_is_named(form, files):
    broken(files, "foundation.yaml", form, form.replace(":ref", ":pull"))
    assert codes(files, "--offline") == {"subject-not-trusted"}


def test_a_finding_is_printed_with_its_remedy_and_the_exit_code_is_1(files, capsys):
    broken(files, "Dockerfile", "VOLUME /tmp", "")
    assert main(options(files, "--offline")) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("temporary-not-writable: ")
    assert f"remedy: {REMEDIES['temporary-not-writable']}" in printed


def test_a_file_that_is_absent_is_a_finding_only_when_asked_for(files):
    (files / "Dockerfile").unlink()
    assert codes(files, "--offline") == set()
    assert codes(files, "--offline", "--strict") == {"file-missing"}


# --- the account


class Account:
    """An account that has the foundation, an image for amd64, and the role that ECS makes for itself."""

    def __init__(self, files):
        self.files = files
        session = boto3.Session(region_name=REGION)
        self.client = session.client
        self.outputs = create_foundation(session, files / "foundation.yaml")
        platform = {"architecture": "amd64", "os": "linux"}
        self.digest = self.push({"manifests": [{"digest": "sha256:" + "1" * 64, "size": 1, "platform": platform}]})

    def push(self, manifest):
        kind = "index" if "manifests" in manifest else "manifest"
        manifest = {"schemaVersion": 2, "mediaType": f"application/vnd.oci.image.{kind}.v1+json", **manifest}
        pushed = self.client("ecr").put_image(
            repositoryName="seefood102", imageManifest=json.dumps(manifest), imageTag=kind
        )
        return pushed["image"]["imageId"]["imageDigest"]

    def codes(self, repository="ada@7/food@8", **values):
        values = {
            "ImageUri": f"{self.outputs['RepositoryUri']}@{self.digest}",
            "LogGroupName": self.outputs["LogGroupName"],
            "BucketName": self.outputs["BucketName"],
        } | values
        return codes(
            self.files, f"--repository={repository}", *(f"--set={name}={value}" for name, value in values.items())
        )


@pytest.fixture
def account(files, monkeypatch, no_credentials):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws(), pytest.warns(UserWarning, match="not supported by moto"):
        yield Account(files)


def test_nothing_is_found_in_an_account_that_has_the_foundation_and_what_it_lacks_is_named(account):
    assert account.codes() == set()
    assert account.codes(repository="ada/food") == set()
    assert account.codes(repository="eve/food") == {"subject-not-trusted"}
    uri = account.outputs["RepositoryUri"]
    assert account.codes(ImageUri=f"{uri}:1234567") == {"no-image"}
    assert account.codes(ImageUri=f"{uri}@sha256:{'0' * 64}") == {"no-image"}
    assert account.codes(ImageUri=f"{uri}-other:1234567") == {"no-image"}
    assert account.codes(LogGroupName="/ecs/other") == {"no-log-group"}
    assert account.codes(BucketName="somebody-elses") == {"bucket-not-reachable"}
    assert account.codes(BucketName="") == {"bucket-not-reachable"}


def test_the_image_in_the_account_must_be_of_the_tasks_architecture(account):
    (account.files / "deploy.yml").unlink()
    assert account.codes(CpuArchitecture="ARM64") == {"wrong-architecture"}


@pytest.mark.parametrize(("architecture", "found"), [("amd64", set()), ("arm64", {"wrong-architecture"})])
def test_the_architecture_of_a_single_image_is_read_from_its_configuration(
    architecture, found, account, tmp_path, monkeypatch
):
    """moto has no address of a layer: the configuration lies on a server of our own, as at ECR on S3."""
    configuration = json.dumps({"architecture": architecture, "os": "linux"}).encode()
    digest = f"sha256:{hashlib.sha256(configuration).hexdigest()}"
    (tmp_path / digest).write_bytes(configuration)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()

        def address(asked):
            layer = asked._get_param("layerDigest")
            return ActionResult({"downloadUrl": f"http://127.0.0.1:{server.server_port}/{layer}", "layerDigest": layer})

        monkeypatch.setattr(ECRResponse, "get_download_url_for_layer", address)
        pushed = account.push({"config": {"digest": digest, "size": len(configuration)}, "layers": []})
        assert account.codes(ImageUri=f"{account.outputs['RepositoryUri']}@{pushed}") == found
        server.shutdown()


def test_a_log_group_that_ecs_makes_itself_need_not_be_there_but_wants_the_right_to_make_it(account):
    broken(
        account.files, "service.yaml", "awslogs-group:", 'awslogs-create-group: "true"\n              awslogs-group:'
    )
    broken(account.files, "foundation.yaml", "[logs:CreateLogStream,", "[logs:CreateLogGroup, logs:CreateLogStream,")
    assert account.codes(LogGroupName="/ecs/other") == {"execution-role"}  # the account's role is as it was
    statement = {"Effect": "Allow", "Action": ["ecr:*", "logs:*"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    account.client("iam").put_role_policy(RoleName="seefood102-execution", PolicyName="start", PolicyDocument=document)
    assert account.codes(LogGroupName="/ecs/other") == set()


def test_roles_in_the_account_are_read_as_they_are_and_not_as_the_template_says(account):
    iam = account.client("iam")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="seefood102-execution", PolicyName="start", PolicyDocument=json.dumps(document))
    assert account.codes() == {"execution-role"}
    document["Statement"][0]["Action"] = ["ecr:*", "logs:*"]
    iam.put_role_policy(RoleName="seefood102-execution", PolicyName="start", PolicyDocument=json.dumps(document))
    assert account.codes() == set()
    iam.delete_role(RoleName="AWSServiceRoleForECS")
    assert account.codes() == {"no-service-linked-role"}


def test_subnets_of_an_existing_network_need_a_way_to_ecr(account):
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    private = {"VpcId": vpc, "SubnetIds": subnet, "AssignPublicIp": "DISABLED"}
    assert account.codes(**private) == {"no-route-to-ecr"}
    for service in ("ecr.api", "ecr.dkr", "logs", "s3"):
        ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.{service}")
    assert account.codes(**private) == set()

    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert account.codes(**private) == {"no-public-address"}
    assert account.codes(**private | {"AssignPublicIp": "ENABLED"}) == set()


def test_every_finding_has_a_row_in_the_documents_table_and_is_broken_by_a_test():
    table = (ROOT / "docs/ship.md").read_text().partition("## What doctor finds")[2].partition("\n## ")[0]
    rows = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert rows == set(REMEDIES)
    in_files = {code for code, *_ in BROKEN_FILES}
    here = (ROOT / "tests/test_doctor.py").read_text()
    assert {code for code in REMEDIES if f'{{"{code}"}}' in here} | in_files == set(REMEDIES)
