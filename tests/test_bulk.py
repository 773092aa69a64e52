"""Photos by the million, on a few hundred: real runs of `python -m seefood.bulk`, on Ray, of this machine and of S3."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError
from made_photos import made_photo
from pyarrow.fs import LocalFileSystem
from serving import EXAMPLES, ROOT, color_model
from test_wings import imported

from seefood.bulk.__main__ import main
from seefood.bulk.answers import SCHEMA, Answers
from seefood.bulk.places import listed, reader_of
from seefood.bulk.worker import Worker
from seefood.errors import PhotoError
from seefood.predictor import Predictor

MODEL = "0123456789ab"


# Ray asks these in which cloud it is, whatever one sets; docs/scale.md says so.
ASKED_BY_RAY = {"socket.getaddrinfo 169.254.169.254", "socket.getaddrinfo metadata.google.internal"}


@pytest.fixture(scope="module")
def variables(model_file, tmp_path_factory):
    """The environment of a run, in which nobody reaches another host unseen."""
    connections = tmp_path_factory.mktemp("bulk") / "connections"
    connections.touch()
    yield {
        "BULK_CONNECTIONS": str(connections),
        "PYTHONPATH": f"{ROOT / 'tests/bulk_hooks'}:{ROOT}",
        "RAY_worker_niceness": "0",  # Ray's 15 would have the workers wait for whatever else this machine does
        "SEEFOOD_MODEL": str(model_file),
        "SEEFOOD_MAX_BYTES": "300000",
    }
    assert set(connections.read_text().splitlines()) <= ASKED_BY_RAY


def start(photos, answers, variables, *options):
    """A run in a process group of its own."""
    command = [sys.executable, "-m", "seefood.bulk", photos, answers, "--workers", "2", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        list(map(str, command)), env=os.environ | variables, cwd=ROOT, start_new_session=True, **pipes
    )


def ended(process):
    """What a run has printed at its end."""
    try:
        return process.communicate(timeout=180)
    finally:
        process.kill()


def run(photos, answers, variables, *options):
    """What a run prints last, when it has ended well."""
    process = start(photos, answers, variables, *options)
    out, err = ended(process)
    assert process.returncode == 0, f"{out}\n{err}"
    return out


def rows_of(answers):
    """The answers as pandas reads the folder, by path; each path once."""
    rows = pd.read_parquet(answers).set_index("path")
    assert rows.index.is_unique
    return rows


def expect_answers_of(predictor, rows, photos):
    for path, row in rows.iterrows():
        prediction = predictor.predict(photos[path])
        labels, probabilities = zip(*prediction.top(5), strict=True)
        assert list(row["labels"]) == list(labels)
        np.testing.assert_allclose(row["probabilities"], probabilities, atol=1e-6)
        assert row["not_food"] == pytest.approx(prediction.probability[-1], abs=1e-6)
        assert pd.isna(row["error"])
        assert row["model"] == predictor.digest


def many_photos(folder, count):
    for number in range(count):
        made_photo(number % 6, number).save(folder / f"{number:04d}.jpg", quality=90)
    return {str(folder / f"{number:04d}.jpg") for number in range(count)}


def wait_for_answers(answers, count):
    deadline = time.monotonic() + 120
    while len(list(answers.glob("*.parquet"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def worker_pids(group):
    """The processes of a run's group that are Ray Data's workers, as they call themselves."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == group and b"MapWorker" in (folder / "cmdline").read_bytes():
                pids.append(int(folder.name))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return pids


@pytest.mark.slow
def test_a_folder_gets_the_predictors_answers_and_a_reason_for_each_bad_file(predictor, variables, tmp_path):
    photos, answers = tmp_path / "photos", tmp_path / "answers"
    (photos / "deep" / "deeper").mkdir(parents=True)
    for place, example in zip([photos, photos / "deep", photos / "deep/deeper"], EXAMPLES, strict=False):
        (place / example.name).write_bytes(example.read_bytes())
    good = {str(path): path for path in photos.glob("**/*.jpg")}
    (photos / "notes.txt").write_text("no photo")
    (photos / "empty.jpg").touch()
    (photos / "large.jpg").write_bytes(bytes(300_001))
    (photos / ".hidden.jpg").write_text("not looked at")

    printed = run(photos, answers, variables)
    rows = rows_of(answers)
    assert set(rows.index) == {*good, *(str(photos / name) for name in ("notes.txt", "empty.jpg", "large.jpg"))}
    expect_answers_of(predictor, rows.loc[sorted(good)], good)
    bad = rows.drop(index=list(good))
    assert bad[["labels", "probabilities", "not_food"]].isna().all(axis=None)
    assert bad.loc[str(photos / "notes.txt"), "error"].startswith("notes.txt: not an image that can be read")
    assert "is empty" in bad.loc[str(photos / "empty.jpg"), "error"]
    assert "SEEFOOD_MAX_BYTES" in bad.loc[str(photos / "large.jpg"), "error"]
    assert printed.startswith("6 photos, 3 errors; ")
    assert "\n  1 ... MB is over the limit of ... MB\n" in printed

    # Photos are added, a bad one is mended.
    for name in ("new.jpg", "notes.txt"):
        (photos / name).write_bytes(EXAMPLES[3].read_bytes())
        good[str(photos / name)] = photos / name
    assert run(photos, answers, variables, "--retry-errors").startswith("4 photos, 2 errors; 3 had an answer before; ")
    rows = rows_of(answers)
    assert len(rows) == 7
    expect_answers_of(predictor, rows.loc[sorted(good)], good)


@pytest.mark.slow
def test_a_prefix_in_s3_gets_the_same_answers_into_s3(predictor, s3, variables, tmp_path):
    for bucket in ("photos", "answers"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    keys = [f"day 1/{path.name}" for path in EXAMPLES[:3]] + ["day 1/50 % für Ümit+1.jpg"]
    for key, example in zip(keys, EXAMPLES, strict=False):
        s3.put_object(Bucket="photos", Key=key, Body=example.read_bytes())
    s3.put_object(Bucket="photos", Key="day 1/bad.jpg", Body=b"no photo")
    s3.put_object(Bucket="photos", Key="day 2/left.jpg", Body=b"below another prefix")
    variables = variables | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.meta.endpoint_url.rpartition(':')[2]}"}

    assert run("s3://photos/day 1", "s3://answers/of/day 1/", variables).startswith("5 photos, 1 errors; ")
    for entry in s3.list_objects_v2(Bucket="answers")["Contents"]:
        assert entry["Key"].startswith(f"of/day 1/{predictor.digest}-")
        s3.download_file("answers", entry["Key"], str(tmp_path / Path(entry["Key"]).name))
    rows = rows_of(tmp_path)
    assert "not an image" in rows.loc["s3://photos/day 1/bad.jpg", "error"]
    photos = {f"s3://photos/{key}": example for key, example in zip(keys, EXAMPLES, strict=False)}
    expect_answers_of(predictor, rows.drop(index="s3://photos/day 1/bad.jpg"), photos)
    assert run("s3://photos/day 1/", "s3://answers/of/day 1", variables).startswith("0 photos, 0 errors; 5 had an")


@pytest.mark.slow
def test_a_killed_run_and_a_killed_worker_lose_nothing_and_repeat_nothing(variables, tmp_path):
    photos, answers = tmp_path / "photos", tmp_path / "answers"
    photos.mkdir()
    expected = many_photos(photos, 1600)
    first = start(photos, answers, variables, "--rows-per-file", "20")
    wait_for_answers(answers, 5)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    while worker_pids(first.pid):  # Ray has them in groups of their own, and ends them a moment later
        time.sleep(0.1)
    done = rows_of(answers)  # no half file is in the way of a reader
    assert 100 <= len(done) < len(expected)
    kept = {path.name: path.read_bytes() for path in answers.glob("*.parquet")}

    second = start(photos, answers, variables, "--rows-per-file", "20")
    wait_for_answers(answers, len(kept) + 5)
    (victim, _) = worker_pids(second.pid)
    os.kill(victim, signal.SIGKILL)
    assert len(list(answers.glob("*.parquet"))) < 60  # in the middle, indeed
    out, err = ended(second)
    assert second.returncode == 0, f"{out}\n{err}"
    assert f"; {len(done):,} had an answer before; " in out
    rows = rows_of(answers)
    assert set(rows.index) == expected
    assert rows["error"].isna().all()
    assert {path.name: path.read_bytes() for path in answers.glob("*.parquet")}.items() >= kept.items()


@pytest.mark.slow
def test_a_photo_that_kills_its_worker_costs_the_others_nothing(variables, tmp_path):
    photos, answers = tmp_path / "photos", tmp_path / "answers"
    (photos / "others").mkdir(parents=True)
    expected = many_photos(photos / "others", 40)
    (photos / "killer.jpg").write_text("not empty")  # comes first
    process = start(photos, answers, variables, "--rows-per-file", "1")
    _, err = ended(process)
    assert process.returncode == 1
    assert "have no answer yet" in err.splitlines()[-1]
    assert set(rows_of(answers).index) == expected


def test_hidden_files_are_passed_over_and_the_order_is_stable_on_disk_as_in_s3(s3, tmp_path):
    names = ["b.jpg", "a/2.jpg", "a/10.jpg", ".hidden.jpg", ".folder/c.jpg", "a/b/ü.jpg"]
    s3.create_bucket(Bucket="photos", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"123")
        s3.put_object(Bucket="photos", Key=f"x/{name}", Body=b"123")
    for root in (str(tmp_path), "s3://photos/x"):
        files = pa.concat_tables(listed(root)).to_pydict()
        assert files == {
            "path": [f"{root}/{name}" for name in ("b.jpg", "a/10.jpg", "a/2.jpg", "a/b/ü.jpg")],
            "size": [3] * 4,
        }


def test_what_is_too_large_is_refused_by_its_size_alone(s3, tmp_path):
    for address in (str(tmp_path), "s3://photos"):
        with pytest.raises(PhotoError, match=r"^film\.mov: 2000.0 MB is over the limit"):
            reader_of(address)(f"{address}/film.mov", 2_000_000_000)  # which is not there


def test_only_what_is_the_files_own_fault_is_an_error_of_that_file(s3, tmp_path, monkeypatch):
    with pytest.raises(PhotoError, match=r"^gone\.jpg: cannot be opened \(No such file or directory\)"):
        reader_of(str(tmp_path))(f"{tmp_path}/gone.jpg", 3)
    s3.create_bucket(Bucket="photos", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    read = reader_of("s3://photos")
    with pytest.raises(PhotoError, match=r"^gone\.jpg: cannot be opened \(The specified key does not exist\.\)"):
        read("s3://photos/gone.jpg", 3)

    def refuse(code):
        raise ClientError({"Error": {"Code": code, "Message": "told by S3"}}, "GetObject")

    s3.meta.events.register("before-call.s3.GetObject", lambda **_: refuse(os.environ["CODE"]))
    monkeypatch.setattr("boto3.client", lambda *_, **__: s3)
    read = reader_of("s3://photos")
    monkeypatch.setenv("CODE", "AccessDenied")
    with pytest.raises(PhotoError, match=r"^a\.jpg: cannot be opened \(told by S3\)"):
        read("s3://photos/a.jpg", 3)
    monkeypatch.setenv("CODE", "ExpiredToken")
    with pytest.raises(ClientError, match="ExpiredToken"):
        read("s3://photos/a.jpg", 3)


class KilledBeforeTheMove(LocalFileSystem):
    def move(self, *_):
        raise KeyboardInterrupt


def test_a_file_of_answers_appears_whole_or_not_at_all(tmp_path):
    answers, killed = Answers(str(tmp_path), model=MODEL), Answers(str(tmp_path), model=MODEL)
    killed._filesystem = KilledBeforeTheMove()
    answers.write([{"path": "/a.jpg", "error": "bad"}])
    with pytest.raises(KeyboardInterrupt):
        killed.write([{"path": "/b.jpg", "error": "bad"}])
    assert len(list(tmp_path.iterdir())) == 2
    assert rows_of(tmp_path).index.tolist() == ["/a.jpg"]
    assert answers.without_answer(pa.table({"path": ["/a.jpg", "/b.jpg"]}))["path"].to_pylist() == ["/b.jpg"]


def test_the_columns_are_those_of_the_documentation(tmp_path):
    Answers(str(tmp_path), model=MODEL).write([{"path": "/a.jpg", "labels": ["ramen"], "probabilities": [0.5]}])
    (file,) = tmp_path.iterdir()
    assert pyarrow.parquet.read_schema(file).equals(SCHEMA)
    documented = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/scale.md").read_text(), re.MULTILINE)
    assert documented == SCHEMA.names


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["nowhere", "out"], "nowhere: cannot be listed (.* No such file"),
        (["photos", "photos/out"], "photos/out: lies in .*photos, .* Name another folder."),
        (["gs://bucket", "out"], "gs://bucket: is neither a folder nor in S3. Name a folder, or s3://bucket/prefix."),
        (["s3://", "out"], "s3://: names no bucket. Write s3://bucket/prefix."),
        (["s3://nobucket/photos", "out"], "s3://nobucket/photos: cannot be listed (.*bucket does not exist"),
        (["photos", "other"], "other: holds cafecafecafe-0.parquet, .* of the model .* Name another folder."),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_what_cannot_be_done_is_told_in_one_line(
    given, told, model_file, s3, tmp_path, monkeypatch, capsys, environment
):
    environment(SEEFOOD_MODEL=model_file)
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("other").mkdir()
    Path("other/cafecafecafe-0.parquet").touch()
    monkeypatch.setattr(sys, "argv", ["bulk", *given])
    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"bulk: .*{told.replace('(', '[(]', 1)}.*", line)


def test_an_empty_folder_is_no_mistake(model_file, tmp_path, monkeypatch, capsys, environment):
    environment(SEEFOOD_MODEL=model_file)
    monkeypatch.setattr(sys, "argv", ["bulk", str(tmp_path), f"{tmp_path}-answers"])
    assert main() == 0
    assert capsys.readouterr().out == "0 photos, 0 errors\n"


def test_bad_workers_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bulk", "photos", "answers", "--workers", "0"])
    with pytest.raises(SystemExit):
        main()
    assert "--workers: 0 is less than 1" in capsys.readouterr().err


def test_a_model_without_not_food_leaves_that_column_empty(tmp_path):
    worker = Worker.__new__(Worker)
    worker._predictor = Predictor(color_model(tmp_path / "color.onnx"))
    (row,) = worker._rows([("/a.jpg", EXAMPLES[0].read_bytes)])
    assert "not_food" not in row
    assert len(row["labels"]) == 3


def test_ray_is_imported_by_bulk_alone():
    for module in ROOT.glob("seefood/**/*.py"):
        if module.parent.name != "bulk":
            assert not imported(module.read_text(), module.relative_to(ROOT).as_posix()) & {"ray", "seefood.bulk"}
