"""The limit of a container is what threads are set by."""

import pytest

from seefood.cpus import cpu_limit
from seefood.predictor import session_options


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 0),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0),
        ({}, 0),
    ],
)
def test_the_limit_is_that_of_the_control_group(files, limit, tmp_path):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cpu_limit(tmp_path) == limit


def test_onnx_runtime_gets_as_many_threads_as_the_container_has_cpus(monkeypatch):
    monkeypatch.setattr("seefood.predictor.cpu_limit", lambda: 3)
    assert session_options(0).intra_op_num_threads == 3
    assert session_options(1).intra_op_num_threads == 1
