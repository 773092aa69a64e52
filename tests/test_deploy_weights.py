"""From where a deployment takes the model."""

import hashlib
import shutil

import pytest
from serving import ROOT

from deploy import weights
from deploy.weights import md5_of, remote_of


def test_the_bucket_once_one_is_configured_and_else_what_lies_in_the_repository():
    shipped = (ROOT / ".dvc/config").read_text()
    assert remote_of(shipped) == "embedded"
    assert remote_of(shipped.replace("s3://your-bucket/", "s3://mine/")) == "s3"
    assert remote_of("[core]\n    remote = embedded\n") == "embedded"


@pytest.mark.parametrize("pulled", [b"the model", b"another file"])
def test_a_file_that_is_not_the_one_that_the_pointer_names_is_refused(pulled, tmp_path, monkeypatch, capsys):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "models").mkdir()
    shutil.copy(ROOT / ".dvc/config", tmp_path / ".dvc/config")
    md5 = hashlib.md5(b"the model", usedforsecurity=False).hexdigest()
    (tmp_path / "models.dvc").write_text(f"outs:\n- path: models/seefood.onnx\n  hash: md5\n  md5: {md5}\n")
    stand_in = tmp_path / "dvc"
    asked = "[ \"$*\" = 'pull --force --remote embedded' ]"
    stand_in.write_text(f"#!/bin/sh\n{asked} && printf '{pulled.decode()}' > models/seefood.onnx\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(weights, "ROOT", tmp_path)
    monkeypatch.setattr(weights, "DVC", stand_in)
    assert weights.main() == (0 if pulled == b"the model" else 1)
    assert ("is not the file that models.dvc names" in capsys.readouterr().err) == (pulled != b"the model")


def test_the_pointer_of_this_repository_names_an_md5():
    assert md5_of((ROOT / "models.dvc").read_text()) in (ROOT / "models.dvc").read_text()
