"""What is mirrored is exactly a Space that starts: sent to a stand-in of the Hub, taken from there, started, called."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
import yaml
from hub import running_hub
from serving import EXAMPLES, ROOT, free_port

from deploy.smoke import Table, check
from deploy.space import SpaceError, assemble, readme, requirements, source_of

SPACE = "someone/food"
OURS = ("GRADIO_", "HF_", "SEEFOOD_", "PYTHON", "FORWARDED_")


def mirror(address, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith((*OURS, "GITHUB_"))}
    # The Hub would take the model by Xet, which is no HTTP that a test can stand in for; it takes plain LFS, too.
    environment |= {"HF_ENDPOINT": address, "HF_TOKEN": "hf_testing", "HF_HUB_DISABLE_XET": "1", "SPACE": SPACE}
    command = [sys.executable, "-m", "deploy.space"]
    return subprocess.run(command, cwd=ROOT, env=environment | variables, capture_output=True, text=True)


@pytest.fixture(scope="module")
def mirrored(model_file):
    """The stand-in after a first mirroring onto a Space that has a file of its own."""
    with running_hub(SPACE) as (hub, address):
        hub.files["old.py"] = b"# of an earlier version"
        done = mirror(address, GITHUB_SHA="0123456789abcdef")
        assert done.returncode == 0, done.stderr
        yield hub, address


@pytest.fixture
def files(mirrored, tmp_path):
    """A folder with the Space's files, as the Hub's builder would have them."""
    for name, content in mirrored[0].files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@contextmanager
def started(folder, python, variables):
    """app.py of a folder, with its own files and the Space's variables alone; yields its address."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    environment |= {**variables, "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads")}
    with (folder / "output.txt").open("w") as output:
        command = [python, "app.py"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_the_space_has_what_the_app_needs_in_one_commit_and_nothing_else(mirrored):
    hub, _ = mirrored
    code = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("seefood/**/*.py")}
    code = {name for name in code if not name.startswith(("seefood/bulk/", "seefood/training/"))}
    examples = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/*")}
    rest = {"app.py", "LICENSE", "README.md", "requirements.txt", "models/seefood.onnx", ".gitattributes"}
    assert hub.files.keys() == code | examples | rest
    assert hub.commits == ["Mirror of 0123456789ab"]
    assert hub.made["sdk"] == "gradio"
    assert hub.variables == {"GRADIO_SERVER_NAME": "0.0.0.0", "FORWARDED_ALLOW_IPS": "*"}  # noqa: S104


def test_to_mirror_what_is_there_already_commits_nothing(mirrored):
    hub, address = mirrored
    before = dict(hub.files), list(hub.commits)
    done = mirror(address)
    assert done.returncode == 0, done.stderr
    assert (hub.files, hub.commits) == before


def test_the_space_starts_and_answers_as_the_predictor_does(mirrored, files, model_file):
    own = files / "seefood/__init__.py"
    own.write_text(re.sub(r'__version__ = ".*"', '__version__ = "of the Space"', own.read_text()))
    with started(files, sys.executable, mirrored[0].variables) as url:
        found = check(url, Table.of_this_repository(model_file))
        assert found == [], (files / "output.txt").read_text()
        assert httpx.get(f"{url}/healthz").json()["version"] == "of the Space"  # and not that of the repository


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SEEFOOD_SLOW"), reason="fetches 0.6 GB: SEEFOOD_SLOW=1 runs it")
@pytest.mark.timeout(1200)
def test_the_space_builds_as_the_hub_builds_it(mirrored, files, model_file, tmp_path_factory):
    """Installs 0.6 GB from the package index, together and at the versions that the Hub would install."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    sdk = yaml.safe_load((files / "README.md").read_text().split("---")[1])["sdk_version"]
    hub = [f"gradio[oauth,mcp]=={sdk}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces"]
    install = [environment / "bin/pip", "install", "--quiet", "--requirement", files / "requirements.txt", *hub]
    done = subprocess.run(install, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    with started(files, environment / "bin/python", mirrored[0].variables) as url:
        assert check(url, Table.of_this_repository(model_file)) == [], (files / "output.txt").read_text()


def test_the_front_matter_has_the_versions_of_the_project(mirrored):
    facts = yaml.safe_load(mirrored[0].files["README.md"].decode().split("---")[1])
    (gradio,) = re.findall(r"^gradio==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert facts["sdk_version"] == gradio
    assert facts["python_version"] == re.search(r'python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert (facts["sdk"], facts["app_file"], facts["license"]) == ("gradio", "app.py", "apache-2.0")
    assert "{" not in mirrored[0].files["README.md"].decode()


def test_what_gradio_needs_is_left_to_gradio_which_the_hub_installs_with_extras():
    project = '[project]\ndependencies = ["gradio>=6,<7", "numpy>=2", "pillow>=11"]\n'
    locked = (
        "gradio==6.1\npydantic==2.14\nnumpy==2.4 ; python_version < '3.12'\nnumpy==2.5\n    # via x\npillow==12.3\n"
    )
    assert requirements(locked, project) == "numpy==2.4 ; python_version < '3.12'\nnumpy==2.5\npillow==12.3\n"
    with pytest.raises(SpaceError, match="pins no pillow"):
        requirements(locked.replace("pillow", "pixel"), project)


def test_without_the_name_of_a_space_nothing_is_sent():
    done = mirror("http://127.0.0.1:1", SPACE="food")
    assert done.returncode == 1
    assert "SPACE names no Space" in done.stderr


def test_without_the_model_it_says_how_to_get_it(tmp_path):
    for path in [ROOT / "app.py", ROOT / "LICENSE", EXAMPLES[0]]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SpaceError, match=r"models/seefood.onnx: missing. `make model`"):
        assemble(tmp_path / "space", SPACE, tmp_path)


@pytest.mark.parametrize(
    "origin",
    ["https://key:secret@example.com/me/food.git", "git@example.com:me/food.git", "https://example.com/me/food"],
)
def test_the_readme_names_the_repository_and_no_key_of_it(origin, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", origin], check=True)
    assert source_of(tmp_path) == "https://example.com/me/food"
    monkeypatch.setenv("GITHUB_REPOSITORY", "you/food")
    assert source_of(tmp_path) == "https://github.com/you/food"
    project = '[project]\nrequires-python = ">=3.11"\n'
    assert readme(SPACE, "{source} {space}", "gradio==6.1", project, "https://x") == f"https://x {SPACE}"
