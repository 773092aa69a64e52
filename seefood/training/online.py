"""A run goes online while it trains: its TensorBoard log, and in the end its checkpoints and its card.

Send a run that is on the disk, again or for the first time:
    python -m seefood.training.online runs/levit_256 hf://you/seefood-runs
    python -m seefood.training.online runs/levit_256 s3://bucket/prefix
"""

import argparse
import logging
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from seefood.errors import OnlineError
from seefood.training.places import Place, open_place
from seefood.training.run_card import run_card

LOG = ("events.out.tfevents.*", "hparams.yaml", "config.yaml")
RUN = (*LOG, "README.md", "checkpoints/best.ckpt", "checkpoints/last.ckpt")

log = logging.getLogger(__name__)


class Online(Callback):
    """Sends a run to the Hugging Face Hub or to a bucket; does nothing without an address.

    The first time is before the first step, so that a mistake ends the run at its start. Then the log is sent after a
    validation, in the background: a failure is a warning, and the run goes on. In the end, however it comes, goes all
    that there is; the run has failed when that fails, but stays on the disk.
    """

    def __init__(self, *, to: str | None = None, public: bool = False, minutes: float = 5):
        """
        Args:
            to: hf://you/name-of-the-repository or s3://bucket/prefix; the run goes into a folder of its name there. The
                keys are those of the Hub (HF_TOKEN, or `hf auth login`) or of boto3's standard chain.
            public: let all the world read a repository that is made for this. The log shows photos of the training.
            minutes: send the log no more often.

        Raises:
            OnlineError: no such address can be.
        """
        self.seconds = 60 * minutes
        self._place = open_place(to, public=public) if to else None
        self._run: _Run | None = None  # while one is online, and in the first process alone

    def on_fit_start(self, trainer: Trainer, model: LightningModule) -> None:
        if self._place is None:
            return
        if trainer.logger is None:
            raise OnlineError(f"{self._place.address}: the run keeps no log. Give it a logger, as configs/ does.")
        folder, problem = trainer.log_dir, ""  # to name the folder all processes take part
        if trainer.is_global_zero:
            run = _Run(Path(folder), self._place)
            try:
                run.send_log()
                self._run = run
            except OnlineError as error:
                problem = str(error)
        if problem := trainer.strategy.broadcast(problem):  # all end by it, none by the end of another
            raise OnlineError(problem)

    def on_validation_end(self, trainer: Trainer, model: LightningModule) -> None:
        if self._run and not trainer.sanity_checking and self._run.is_due(self.seconds):
            trainer.logger.save()
            self._run.send_log_meanwhile()

    def on_fit_end(self, trainer: Trainer, model: LightningModule) -> None:
        self._send_all(trainer)

    def on_exception(self, trainer: Trainer, model: LightningModule, exception: BaseException) -> None:
        if self._run and isinstance(exception, KeyboardInterrupt):
            # Lightning ignores a second one, but sending may take long.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._send_all(trainer)
        except OnlineError as error:  # the run ends by its own exception
            log.warning(error)

    def _send_all(self, trainer: Trainer) -> None:
        run, self._run = self._run, None  # once: a failure comes back as on_exception
        if run:
            trainer.logger.save()
            run.send_all()


class _Run:
    """The run in a folder, on its way to a place."""

    def __init__(self, folder: Path, place: Place):
        self.folder, self.place = folder, place
        self._background = ThreadPoolExecutor(1)
        self._sending: Future[None] | None = None
        self._begun = time.monotonic()

    def is_due(self, seconds: float) -> bool:
        """Whether the log was last sent so long ago, and is not on its way."""
        is_on_its_way = self._sending is not None and not self._sending.done()
        return time.monotonic() - self._begun >= seconds and not is_on_its_way

    def send_log(self) -> None:
        with TemporaryDirectory() as copy:  # the run goes on writing into its files
            for path in _files(self.folder, LOG).values():
                shutil.copy(path, copy)
            self.place.send(_name(self.folder), _files(Path(copy), LOG))

    def send_log_meanwhile(self) -> None:
        """Send the log in the background; a failure is a warning."""
        self._begun = time.monotonic()
        self._sending = self._background.submit(self._try_log)

    def send_all(self) -> None:
        """Send all that there is, once nothing is on its way."""
        rank_zero_info(f"Sending {self.folder} to {self.place.address}")
        self._background.shutdown()
        try:
            send_run(self.folder, self.place)
        except OnlineError as error:
            again = f"python -m {__name__} {self.folder} {self.place.address}"
            raise OnlineError(f"{error} The run is still in {self.folder}. Send it again: {again}") from error

    def _try_log(self) -> None:
        try:
            self.send_log()
        except OnlineError as error:
            log.warning(f"{error} The training goes on, and its log is sent after a later validation.")


def send_run(folder: Path, place: Place) -> None:
    """Write the card of a run into its folder, and send both.

    Args:
        folder: as train.py leaves it.
        place: see `open_place`.

    Raises:
        OnlineError: there is no run in the folder, or it cannot be sent.
    """
    if not _files(folder, LOG):
        raise OnlineError(f"{folder}: no run is there. Name the folder that has its config.yaml.")
    name = _name(folder)
    run_card(folder, run=name, fetch=place.fetch(name)).save(folder / "README.md")
    place.send(name, _files(folder, RUN))


def _files(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return {path.relative_to(folder).as_posix(): path for path in found}


def _name(folder: Path) -> str:
    """levit_256 for runs/levit_256, and levit_256/version_2 where the logger counts the versions."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name.startswith("version_") else folder.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the run")
    parser.add_argument("to", help="hf://you/name-of-the-repository or s3://bucket/prefix")
    parser.add_argument("--public", action="store_true", help="let all the world read a repository made for this")
    arguments = parser.parse_args()
    send_run(arguments.folder, open_place(arguments.to, public=arguments.public))
    print(f"{arguments.folder} is at {arguments.to}/{_name(arguments.folder)}")


if __name__ == "__main__":
    try:
        main()
    except OnlineError as error:
        sys.exit(str(error))
