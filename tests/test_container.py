"""The image as it is deployed: what is in it, and that it answers as the app outside does, as its user, read-only.

`make container-test` builds it with buildah and runs this; it wants root, for the mounts. The image runs in the file
system that it unpacks to, mounted read-only, with a /tmp of its own and the network of this machine.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from containers import IMAGE, NEEDS_IMAGE, buildah
from serving import ROOT, free_port, is_healthy

from deploy.push import push
from deploy.smoke import Table, differences
from seefood.predictor import Predictor

LIMIT_MB = 350  # of our layers, above the base
MOUNTED = """
set -e
mount --bind {root} {root}
mount --options remount,bind,ro {root}
mount --types tmpfs --options mode=1777 tmpfs {root}/tmp
mount --types proc proc {root}/proc
mount --bind /dev {root}/dev
exec chroot --userspec={user} {root} /usr/bin/env --ignore-environment --chdir={folder} {environment} {command}
"""

pytestmark = NEEDS_IMAGE


def inspected(image, *options):
    return json.loads(buildah(*options, "inspect", "--type", "image", image))["Docker"]


@pytest.fixture(scope="module")
def configuration():
    return inspected(IMAGE)["config"]


@pytest.fixture(scope="module")
def root():
    """The file system that the image unpacks to."""
    container = buildah("from", "--pull-never", IMAGE)
    yield Path(buildah("mount", container))
    buildah("umount", container)
    buildah("rm", container)


def command_in(root, configuration, command, **environment):
    """What runs a command in the image, as its user."""
    variables = dict(variable.split("=", 1) for variable in configuration["Env"]) | environment
    script = MOUNTED.format(
        root=shlex.quote(str(root)),
        user=configuration["User"],
        folder=configuration["WorkingDir"],
        environment=shlex.join(f"{name}={value}" for name, value in variables.items()),
        command=shlex.join(command),
    )
    return ["unshare", "--mount", "sh", "-c", script]


@pytest.fixture(scope="module")
def app(root, configuration):
    """The image's own command, on a free port: its address and its process."""
    port = free_port()
    command = command_in(root, configuration, configuration["Cmd"], GRADIO_SERVER_PORT=str(port))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while not is_healthy(url):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the image did not answer in two minutes"
        time.sleep(0.5)
    yield url, process
    process.kill()


def test_it_starts_as_a_user_without_rights_with_a_command_that_signals_reach(configuration):
    assert configuration["User"] == "10001:10001"
    assert configuration["Cmd"] == ["python", "app.py"]
    assert not configuration.get("Entrypoint")
    assert list(configuration["ExposedPorts"]) == ["7860/tcp"]
    assert configuration["Healthcheck"]["Test"][:2] == ["CMD", "python"]


def test_its_labels_name_the_commit_and_the_model(configuration):
    labels = configuration["Labels"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert labels["org.opencontainers.image.revision"] == commit.strip()
    assert f"SEEFOOD_COMMIT={commit.strip()}" in configuration["Env"]
    assert labels["org.seefood102.model"] == Predictor(ROOT / "models/seefood.onnx").digest


def test_it_has_what_serving_needs_and_nothing_of_training_dvc_or_building(root):
    (packages,) = (root / "venv/lib").glob("python3*/site-packages")
    assert (packages / "gradio").is_dir()
    there = {path.name for path in packages.iterdir()}
    assert not there & {"torch", "timm", "lightning", "onnx", "datasets", "dvc", "pip", "pytest"}
    assert not (root / "app/seefood/training").exists()
    assert not (root / "app/seefood/bulk").exists()
    assert sorted(path.name for path in (root / "app").iterdir()) == [
        "LICENSE",
        "app.py",
        "examples",
        "models",
        "seefood",
    ]
    assert not [name for name in ("gcc", "cc", "make", "git") if shutil.which(name, path=f"{root}/usr/bin")]


def test_our_layers_are_small(root, capsys):
    sizes = {
        str(path.relative_to(root)): int(subprocess.check_output(["du", "-sb", path]).split()[0]) / 1e6
        for path in [*(root / "venv/lib").glob("python3*/site-packages/*"), *(root / "app").iterdir()]
    }
    total = sum(sizes.values())
    with capsys.disabled():
        print(f"\nThe layers above the base: {total:.0f} MB")
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:12]:
            print(f"{size:8.1f} MB  {name}")
    assert total < LIMIT_MB


def test_nothing_but_tmp_can_be_written(root, configuration):
    for folder, status in {"/app": 1, "/venv": 1, "/tmp": 0}.items():  # noqa: S108
        write = ["python", "-c", f"open('{folder}/x', 'w')"]
        done = subprocess.run(command_in(root, configuration, write), capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert status == 0 or "Read-only file system" in done.stderr


def test_it_says_of_every_example_what_the_predictor_outside_says(app):
    assert not list(differences(app[0], Table.of_this_repository(ROOT / "models/seefood.onnx"), tolerance=1e-4))


def test_it_can_keep_feedback_in_a_bucket(s3, root, configuration):
    s3.create_bucket(Bucket="answers", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    code = "from seefood.stores import open_store; open_store('s3://answers').add_line('feedback', '{}')"
    chain = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    subprocess.run(command_in(root, configuration, ["python", "-c", code], **chain), check=True)
    assert len(s3.list_objects_v2(Bucket="answers")["Contents"]) == 1


def test_it_can_write_metrics_for_cloudwatch_into_its_log(root, configuration):
    code = "from seefood.serving.metrics import EmbeddedMetrics; EmbeddedMetrics('SeeFood102', 'seefood102')"
    subprocess.run(command_in(root, configuration, ["python", "-c", code]), check=True)


def test_its_health_check_passes_where_the_app_answers_and_fails_where_not(app, root, configuration):
    check = configuration["Healthcheck"]["Test"][1:]
    for port, status in {app[0].rpartition(":")[2]: 0, "1": 1}.items():
        done = subprocess.run(command_in(root, configuration, check, GRADIO_SERVER_PORT=port), capture_output=True)
        assert done.returncode == status


def test_sigterm_ends_it_with_0(app):
    process = app[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0  # then ECS would kill it: StopTimeout in service.yaml


@pytest.mark.timeout(1200)  # it is packed, sent, fetched and unpacked: half a minute of work, if nobody else works
def test_it_comes_back_from_a_registry_as_it_was_pushed(registry):
    """The path that ECR takes. It is pulled into a storage of its own, in which none of its layers lies."""
    digest = push(f"containers-storage:localhost/{IMAGE}", f"{registry}/seefood102-built", "abc123", plain=True)
    name = f"{registry}/seefood102-built@{digest}"
    with TemporaryDirectory() as folder:
        storage = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        buildah(*storage, "pull", "--tls-verify=false", name)
        here, back = inspected(IMAGE), inspected(name, *storage)
    assert back["config"] == here["config"]
    assert back["config"]["Labels"]["org.seefood102.model"]
    assert back["config"]["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    assert back["rootfs"]["diff_ids"] == here["rootfs"]["diff_ids"]
