"""README.md and docs/api.md keep their word: what they show is executed as it stands, the address aside."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from serving import ROOT, started_app

from seefood.names import display_name

ADDRESS = "http://127.0.0.1:7860"
CLIENT = "@gradio/client@2.7.0"


def blocks(document, language):
    """The code blocks of a document in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


def api_blocks(language):
    return [
        pytest.param(block, id=f"{language}-{number}") for number, block in enumerate(blocks("docs/api.md", language))
    ]


@pytest.fixture(scope="module")
def app(model_file, tmp_path_factory):
    with started_app(model_file, tmp_path_factory.mktemp("app"), SEEFOOD_MCP="true") as server:
        yield server


@pytest.fixture(scope="module")
def donuts(predictor):
    """What the model makes of the photo in the documents: the name as people write it, and its probability."""
    label, probability = predictor.predict(ROOT / "examples/donuts.jpg").top(1)[0]
    return display_name(label), probability


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory):
    """A folder in which Node.js finds Gradio's client."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no Node.js with npm here")
    folder = tmp_path_factory.mktemp("javascript")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, CLIENT]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def run(command, app, folder):
    """What a command prints, in the folder of the repository; what it downloads goes to `folder`."""
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("block", api_blocks("python"))
def test_python(block, app, donuts, tmp_path):
    printed = run([sys.executable, "-c", block.replace(ADDRESS, app.url)], app, tmp_path)
    assert donuts[0] in printed
    if "/predict_batch" in block and "gradio_client" in block:
        _, best, picture, *rows = printed.splitlines()  # the client begins with where it was loaded from
        assert float(best.rpartition(" ")[2]) == pytest.approx(donuts[1], abs=1e-4)
        assert picture.endswith((".jpeg", ".jpg"))
        assert [row.partition(" ")[0] for row in rows] == ["donuts.jpg", "CREDITS.md", "cat.jpg"]
        assert "not an image" in rows[1]
    if "mcp" in block:
        tools, answer = printed.splitlines()[0], "\n".join(printed.splitlines()[1:])
        assert tools == "['predict', 'explain', 'predict_batch']"
        assert str(round(donuts[1], 3))[:5] in answer
        assert app.requests()[-1]["endpoint"] == "/predict"


@pytest.mark.parametrize("block", api_blocks("sh"))
def test_shell(block, app, donuts, tmp_path):
    printed = run(["bash", "-euo", "pipefail", "-c", block.replace(ADDRESS, app.url)], app, tmp_path)
    answer = json.loads(printed.strip().rpartition("data: ")[2])
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["label"] == donuts[0]
    assert answer["confidences"][0]["confidence"] == pytest.approx(donuts[1], abs=1e-4)


@pytest.mark.parametrize("block", api_blocks("js"))
def test_javascript(block, app, donuts, node_modules, tmp_path):
    script = node_modules / "example.mjs"
    script.write_text(block.replace(ADDRESS, app.url))
    printed = run(["node", script], app, tmp_path).split()
    assert " ".join(printed[: len(donuts[0].split())]) == donuts[0]
    if "@gradio" in block:
        assert float(printed[-1]) == pytest.approx(donuts[1], abs=1e-4)


def test_every_language_is_there():
    assert [len(blocks("docs/api.md", language)) for language in ("python", "sh", "js")] == [3, 2, 2]


def test_the_use_section_of_the_readme(app, donuts, tmp_path):
    use = (ROOT / "README.md").read_text().partition("\n## Use\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(python|sh)\n(.*?)^```$", use, re.DOTALL | re.MULTILINE)
    assert [language for language, _ in found] == ["python", "sh", "python"]
    for language, block in found:
        block = block.replace(ADDRESS, app.url)
        if language == "sh":
            assert donuts[0] in run(["bash", "-euo", "pipefail", "-c", block], app, tmp_path)
        else:
            run([sys.executable, "-c", block], app, tmp_path)


def test_the_commands_that_the_generated_page_prints_for_curl(app, donuts, tmp_path):
    """Gradio's page leaves the name of the file open; its `read` at the end of a pipe wants zsh, or bash's lastpipe."""
    for endpoint, photo in {"predict": "photo", "explain": "photo", "predict_batch": "photos"}.items():
        printed = f"""
            FILE_PATH=$(curl -s -X POST {app.url}/gradio_api/upload -F 'files=@examples/donuts.jpg' | tr -d '[]" ')
            curl -X POST {app.url}/gradio_api/call/v2/{endpoint} -s -H "Content-Type: application/json" \\
              -d '{{"{photo}": {{"path": "'$FILE_PATH'", "meta": {{"_type": "gradio.FileData"}}}}}}' \\
              | awk -F'"' '{{ print $4}}' \\
              | read EVENT_ID; curl -sN {app.url}/gradio_api/call/{endpoint}/$EVENT_ID"""
        answer = run(["bash", "-O", "lastpipe", "-c", printed], app, tmp_path)
        assert "event: complete" in answer, f"{endpoint}: {answer}"
        assert endpoint == "explain" or donuts[0] in answer
