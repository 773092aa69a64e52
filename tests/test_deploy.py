"""From a commit to its public address, by the very steps of deploy.yml, in their order. Part of make container-test.

Real are DVC and an S3 server, the image and what runs it, skopeo and a registry at ECR's own address, doctor,
release and smoke. moto answers for AWS. What AWS does between the steps, the test does in its place: ECR knows what the
registry has taken, ECS starts the task as it was described, and nginx stands before it as the balancer.
"""

import json
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager

import boto3
import pytest
from cloud import registry_of_ecr
from containers import NEEDS_IMAGE, buildah
from foundation import create_foundation
from moto.core.responses import ActionResult
from moto.ecr.responses import ECRResponse
from nginx import started_nginx
from serving import ROOT, free_port
from workflow import StepError, Workflow

ACCOUNT, REGION = "123456789012", "eu-central-1"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
PASSWORD = f"{ACCOUNT}-auth-token"  # what moto says that ECR's is
AUTHOR = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
BALANCER = """
    server {{
        listen 127.0.0.1:{port};
        location /metrics {{ return 404; }}
        location / {{
            proxy_pass http://127.0.0.1:{task};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
            client_max_body_size 21m;
        }}
    }}
"""

pytestmark = [
    *NEEDS_IMAGE,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:.*not supported by moto:UserWarning"),
]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def foundation(s3):
    """The outputs of the foundation stack."""
    return create_foundation(boto3)


@pytest.fixture(autouse=True)
def engine(podman, monkeypatch):
    """podman, as it runs here. The images that a test makes are gone afterwards."""
    for name, value in podman.items():
        monkeypatch.setenv(name, value)
    before = images()
    yield
    if made := images() - before:
        buildah("rmi", "--force", *made)


def images():
    return set(buildah("images", "--quiet").split())


class Ecr:
    """The registry behind ECR's address.

    Attributes:
        environment: what leads a process to it.
    """

    def __init__(self, folder, environment):
        self._folder, self.environment = folder / "images/docker/registry/v2", environment

    def has(self, tag):
        return (self._folder / "repositories/seefood102/_manifests/tags" / tag).exists()

    def blob(self, digest):
        name = digest.removeprefix("sha256:")
        return self._folder / "blobs/sha256" / name[:2] / name / "data"

    def learn(self, image):
        """ECR's API learns of an image that the registry has taken."""
        digest = image.partition("@")[2]
        manifest = self.blob(digest).read_text()
        boto3.client("ecr").put_image(
            repositoryName="seefood102",
            imageManifest=manifest,
            imageManifestMediaType=json.loads(manifest)["mediaType"],
            imageTag="told",
            imageDigest=digest,
        )


@pytest.fixture
def ecr(tmp_path, monkeypatch):
    folder = tmp_path / "registry"
    folder.mkdir()
    with registry_of_ecr(HOST, PASSWORD, folder) as environment:
        ecr = Ecr(folder, environment)

        def where(response):  # moto lacks this call
            digest = response._get_param("layerDigest")
            return ActionResult({"layerDigest": digest, "downloadUrl": ecr.blob(digest).as_uri()})

        monkeypatch.setattr(ECRResponse, "get_download_url_for_layer", where)
        yield ecr


@pytest.fixture
def checkout(foundation, tmp_path):
    """A clone whose weights lie in the account's bucket, and not in the repository."""
    folder = tmp_path / "checkout"
    run("git", "clone", "--quiet", ROOT, folder)
    for name in (".venv", ".dvc-venv"):
        (folder / name).symlink_to(ROOT / name)
    dvc = folder / ".dvc-venv/bin/dvc"
    run(dvc, "pull", cwd=folder)
    run(dvc, "remote", "modify", "s3", "url", f"s3://{foundation['BucketName']}/seefood102", cwd=folder)
    run(dvc, "push", "--remote", "s3", cwd=folder)
    for lost in ("models", ".dvc/embedded", ".dvc/cache"):
        shutil.rmtree(folder / lost)
    return folder


def workflow_of(checkout):
    """deploy.yml at a commit of all that the checkout has."""
    run("git", "add", "--all", cwd=checkout)
    run("git", *AUTHOR, "commit", "--message", "Ship it", cwd=checkout)
    commit = run("git", "rev-parse", "HEAD", cwd=checkout)
    context = {
        "github.sha": commit,
        "github.repository": "ada/food",
        "github.server_url": "https://github.com",
        "vars.AWS_REGION": REGION,
        "vars.NAME || 'seefood102'": "seefood102",
        "vars.SETTINGS": "Spot=true MaxTasks=2",
    }
    return Workflow(checkout, "deploy.yml", context)


def build(workflow, given):
    """Run the job `build` with the tools that this machine has."""
    ours = {
        "BUILDER": "buildah",
        "ENGINE": "podman",
        "TRANSPORT": "containers-storage",
        "IMAGE": f"localhost/seefood102:{workflow.context['github.sha']}",
        "BUILD_FLAGS": os.environ.get("BUILD_FLAGS", ""),
    }
    workflow.run("build", ours, without=["Install"], given=given)


@contextmanager
def started_task(ecr, port):
    """What ECS would run: the task definition's container, its image taken from the registry by its digest."""
    ecs = boto3.client("ecs")
    (arn,) = ecs.list_task_definitions()["taskDefinitionArns"]
    (task,) = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["containerDefinitions"]
    run("podman", "pull", "--creds", f"AWS:{PASSWORD}", task["image"], env=os.environ | ecr.environment)
    options = [f"--env={entry['name']}={entry['value']}" for entry in task["environment"]]
    options += [f"--tmpfs={mount['containerPath']}" for mount in task["mountPoints"]]
    options += [f"--publish=127.0.0.1:{port}:{task['portMappings'][0]['containerPort']}"]
    options += ["--read-only"] if task["readonlyRootFilesystem"] else []
    options += [f"--cap-drop={name}" for name in task["linuxParameters"]["capabilities"]["drop"]]
    container = run("podman", "run", "--detach", *options, task["image"])
    try:
        yield
    finally:
        run("podman", "rm", "--force", container)


def test_a_commit_goes_live_by_the_steps_of_the_workflow(checkout, ecr, tmp_path):
    workflow = workflow_of(checkout)
    build(workflow, {"Push": ecr.environment})
    image = workflow.context["needs.build.outputs.image"]
    assert image.startswith(f"{HOST}/seefood102@sha256:")
    assert ecr.has(workflow.context["github.sha"])

    with pytest.raises(StepError, match="no-image") as stopped:  # for ECR has not been told
        workflow.run("deploy", without=["Install"])
    assert stopped.value.step == "Look for what would keep it from coming up"
    ecr.learn(image)

    port, task = free_port(), free_port()
    (tmp_path / "nginx").mkdir()
    with ExitStack() as running:
        running.enter_context(started_nginx(tmp_path / "nginx", port, BALANCER.format(port=port, task=task)))
        printed = workflow.run(
            "deploy",
            without=["Install"],
            before={"Call the public address": lambda: running.enter_context(started_task(ecr, task))},
            given={"Call the public address": {"HTTP_PROXY": f"http://127.0.0.1:{port}"}},  # only AWS knows its name
        )
    url = workflow.context["steps.release.outputs.url"]
    assert f"{url} answers as model" in printed
    assert (checkout / "summary.txt").read_text() == f"In service: {url}\n"


def test_an_image_that_does_not_answer_is_stopped_before_the_push(checkout, ecr):
    (checkout / "app.py").write_text("import time\n\ntime.sleep(600)\n")
    workflow = workflow_of(checkout)
    with pytest.raises(StepError, match="/healthz did not answer 200") as stopped:
        build(workflow, {"Run it and call it": {"WAIT": "10"}})
    assert stopped.value.step == "Run it and call it"
    assert not ecr.has(workflow.context["github.sha"])
