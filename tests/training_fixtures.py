"""What the tests of training share: a process that keeps to itself."""

from collections.abc import Iterator

import datasets
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def small_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what `datasets` caches of made photos out of the home folder, and torch to one thread: the networks are so
    small that a second one would mostly wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield
    torch.set_num_threads(threads)
