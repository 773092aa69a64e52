"""Where a run can go online: a model repository on the Hugging Face Hub, or a bucket."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id

from seefood.errors import OnlineError


class Place(Protocol):
    """A folder of runs somewhere else, as `runs/` is here.

    Attributes:
        address: as a user writes it.
    """

    address: str

    def send(self, run: str, files: Mapping[str, Path]) -> None:
        """Put files into the folder of a run; what is there by these names is replaced.

        Raises:
            OnlineError: it was not possible. The message says in one line why, and what to do.
        """

    def fetch(self, run: str) -> str:
        """The shell command that brings a run back into `runs/`."""


class Hub:
    """A model repository on the Hugging Face Hub: `hf://you/seefood-runs`. It is made when it is not there.

    Each time is one commit. The card of the run that was sent last is the card of the repository, too. The token is
    HF_TOKEN, or that of `hf auth login`.
    """

    def __init__(self, address: str, *, public: bool):
        self.address, self.repository = address, address.removeprefix("hf://").strip("/")
        try:
            validate_repo_id(self.repository)
            is_name = "/" in self.repository
        except HFValidationError:
            is_name = False
        if not is_name:
            raise OnlineError(f"{address}: names no repository on the Hub. Write hf://you/name-of-the-repository.")
        self.is_private = not public

    def send(self, run: str, files: Mapping[str, Path]) -> None:
        """Commit files; see `Place.send`."""
        named = {f"{run}/{name}": path for name, path in files.items()}
        if "README.md" in files:
            named["README.md"] = files["README.md"]
        disable_progress_bars()  # they would break into that of the training
        hub = HfApi()
        try:
            hub.create_repo(self.repository, private=self.is_private, exist_ok=True)
            operations = [CommitOperationAdd(name, path) for name, path in named.items()]
            hub.create_commit(self.repository, operations, commit_message=f"Run {run}")
        except Exception as error:  # of huggingface_hub, of httpx, of Xet
            raise OnlineError(f"{self.address}: {_told_by_hub(error)}.") from error

    def fetch(self, run: str) -> str:
        """See `Place.fetch`."""
        return f".venv/bin/hf download {self.repository} --include '{run}/*' --local-dir runs"


class Bucket:
    """A prefix in a bucket: `s3://bucket/prefix`. Keys and region come from boto3's standard chain."""

    def __init__(self, address: str):
        try:
            import boto3
        except ImportError:
            raise OnlineError(f"{address}: needs boto3. Install the extra: pip install '.[s3]'.") from None
        self.address = address.rstrip("/")
        self.bucket, _, self.prefix = self.address.removeprefix("s3://").partition("/")
        if not self.bucket or not self.prefix:  # of a bucket without a prefix TensorBoard reads nothing
            raise OnlineError(f"{address}: names no bucket and prefix. Write s3://bucket/prefix.")
        self._client = boto3.client("s3")

    def send(self, run: str, files: Mapping[str, Path]) -> None:
        """Upload files, large ones in parts; see `Place.send`."""
        try:
            for name, path in files.items():
                self._client.upload_file(str(path), self.bucket, f"{self.prefix}/{run}/{name}")
        except Exception as error:  # of boto3, botocore and s3transfer
            reason = _first_line(error).rstrip(".")
            remedy = "Check the bucket, and the keys that AWS_PROFILE or another part of boto3's standard chain gives."
            raise OnlineError(f"{self.address}: {reason}. {remedy}") from error

    def fetch(self, run: str) -> str:
        """See `Place.fetch`."""
        return f"aws s3 sync {self.address}/{run} runs/{run}"


def open_place(address: str, *, public: bool = False) -> Place:
    """The place of an address, `hf://you/repository` or `s3://bucket/prefix`; nothing is asked of the network yet.

    Args:
        address: of a folder of runs.
        public: whether all the world may read a repository on the Hub that is made for this; one that is there stays
            what it is, and who may read a bucket is the bucket's business.

    Raises:
        OnlineError: no such address can be.
    """
    match re.match(r"\w+://", address):
        case re.Match() as found if found[0] == "hf://":
            return Hub(address, public=public)
        case re.Match() as found if found[0] == "s3://":
            return Bucket(address)
    raise OnlineError(f"{address}: no place for runs. Write hf://you/name-of-the-repository or s3://bucket/prefix.")


def _told_by_hub(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    match status:
        case 401:
            return "no token, or none that the Hub knows. Set HF_TOKEN, or run: hf auth login"
        case 403 | 404:
            return "your token may not write there. Take one that may write, and a name of your own or of your team"
    return f"{_first_line(error)}. Check the network, and https://status.huggingface.co"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
