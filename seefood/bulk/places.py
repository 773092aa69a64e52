"""Where photos and answers are: a folder, or a prefix in a bucket. What a photo's address is, and how it is read."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from seefood.errors import BulkError, PhotoError
from seefood.photo import check_bytes

S3 = "s3://"
# S3 takes tens of milliseconds to answer, as a photo takes a worker: while it looks at one, others are fetched.
READERS = 8
_LISTERS = 16
_MISSING = ("NoSuchKey", "AccessDenied", "InvalidObjectState")  # the last one is archived


def whole(address: str) -> str:
    """An address as it is from everywhere: an absolute path, or s3://bucket/prefix, without a slash at its end.

    Raises:
        BulkError: it is neither a folder nor in S3.
    """
    if address.startswith(S3):
        if not address.removeprefix(S3).strip("/"):
            raise BulkError(f"{address}: names no bucket. Write s3://bucket/prefix.")
        return address.rstrip("/")
    if "://" in address:
        raise BulkError(f"{address}: is neither a folder nor in S3. Name a folder, or s3://bucket/prefix.")
    return os.path.abspath(address)


def filesystem_of(address: str) -> tuple[FileSystem, str]:
    """The file system that a whole address is on, and its path there.

    Raises:
        BulkError: there is no such bucket.
    """
    if not address.startswith(S3):
        return LocalFileSystem(), address
    path = address.removeprefix(S3)
    try:
        return FileSystem.from_uri(S3 + path.partition("/")[0])[0], path  # looks up the bucket's region
    except OSError as error:
        raise BulkError(f"{address}: {error}. Check the bucket's name, and your keys.") from error


def listed(address: str) -> Iterator[pa.Table]:
    """All files below a folder or prefix, in a stable order, but for those whose name begins with a dot.

    Yields:
        For each folder a table of `path`, the whole address of a file, and `size` in bytes.

    Raises:
        BulkError: it is not there, or must not be listed.
    """
    filesystem, root = filesystem_of(address)
    scheme = "" if isinstance(filesystem, LocalFileSystem) else S3
    folders = [root]
    with ThreadPoolExecutor(_LISTERS) as pool:
        while folders:
            below: list[str] = []
            try:
                for entries in pool.map(lambda folder: filesystem.get_file_info(FileSelector(folder)), folders):
                    seen = sorted((each for each in entries if each.base_name[:1] != "."), key=lambda each: each.path)
                    below += (each.path for each in seen if each.type == FileType.Directory)
                    files = [each for each in seen if each.type == FileType.File]
                    # Large: the paths of 20 million photos are more than the two gigabytes that a plain string takes.
                    paths = pa.array([scheme + each.path for each in files], pa.large_string())
                    yield pa.table({"path": paths, "size": pa.array([each.size for each in files], pa.int64())})
            except OSError as error:
                raise BulkError(f"{address}: cannot be listed ({error}). Check the address.") from error
            except UnicodeDecodeError as error:
                name = os.fsdecode(error.object)
                raise BulkError(f"{address}: holds {name!a}, whose name is not UTF-8. Rename it.") from error
            folders = below


def reader_of(address: str) -> Callable[[str, int], bytes]:
    """What reads a file below `address`, given the file's address and its size; several threads may call it.

    It raises PhotoError when the fault is the file's: too large, gone, or not to be read. What is not, such as a
    network that is down or keys that have expired, it raises as botocore has it.
    """
    read = _s3_reader() if address.startswith(S3) else _folder_reader

    def checked(path: str, size: int) -> bytes:
        check_bytes(size, os.path.basename(path))
        return read(path)

    return checked


def ahead(read: Callable[[str, int], bytes], files: Iterable[dict[str, Any]]) -> Iterator[Callable[[], bytes]]:
    """Read files on threads, a few more than are asked for; yields for each, in order, what waits for its content."""
    with ThreadPoolExecutor(READERS) as pool:
        waiting: deque[Callable[[], bytes]] = deque()
        for file in files:
            waiting.append(pool.submit(read, file["path"], file["size"]).result)
            if len(waiting) > READERS:
                yield waiting.popleft()
        yield from waiting


def _folder_reader(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror) from error


def _s3_reader() -> Callable[[str], bytes]:
    # Not pyarrow's: it asks for the size of each object first, and S3 charges for that as for the object itself.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    retries = {"mode": "standard", "max_attempts": 10}
    client = boto3.client("s3", config=Config(max_pool_connections=READERS, retries=retries))

    def read(path: str) -> bytes:
        bucket, _, key = path.removeprefix(S3).partition("/")
        try:
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise
            raise _unreadable(path, error.response["Error"]["Message"]) from error

    return read


def _unreadable(path: str, reason: str | None) -> PhotoError:
    return PhotoError(f"{os.path.basename(path)}: cannot be opened ({reason}). Check the path.")
