"""What TensorBoard shows beside the curves: augmented photos, the worst mistakes, the confusion matrix."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib import pyplot
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchmetrics.classification import MulticlassConfusionMatrix
from torchvision.utils import make_grid

from seefood.training.plots import confusion as confusion_figure


class Figures(Callback):
    """Draws figures into the TensorBoard log of a run; does nothing without one."""

    def __init__(self, *, photos: int = 16):
        """
        Args:
            photos: how many augmented photos, and how many mistakes, a figure shows.
        """
        self.photos = photos
        self._mistakes: list[tuple[float, Tensor, str]] = []  # loss, photo, caption
        self._confusion = MulticlassConfusionMatrix(2)  # of the right size when validation starts

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and (writer := _writer(trainer)):
            grid = make_grid(batch["image"][: self.photos].permute(0, 3, 1, 2), nrow=4)
            writer.add_image("train/augmented", grid, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, model: LightningModule) -> None:
        self._mistakes = []
        self._confusion = MulticlassConfusionMatrix(len(model.labels), normalize="true").to(model.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        model: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        label, probability = batch["label"], outputs.softmax(dim=1)
        answer = probability.argmax(dim=1)
        self._confusion.update(answer, label)
        given = probability.gather(1, label[:, None]).squeeze(1)
        for index in torch.nonzero(answer != label).flatten().tolist():
            caption = f"{model.labels[label[index]]}\nnot {model.labels[answer[index]]}"
            self._mistakes.append((given[index].item(), batch["image"][index].cpu(), caption))
        self._mistakes = sorted(self._mistakes, key=lambda mistake: mistake[0])[: self.photos]

    def on_validation_epoch_end(self, trainer: Trainer, model: LightningModule) -> None:
        confusion = self._confusion.compute()  # all processes take part in this
        if writer := _writer(trainer):
            writer.add_figure(
                "val/confusion", confusion_figure(confusion.cpu().numpy(), model.labels), trainer.global_step
            )
            writer.add_figure("val/worst_mistakes", self._grid_of_mistakes(), trainer.global_step)

    def _grid_of_mistakes(self) -> Figure:
        figure, axes = pyplot.subplots(-(-self.photos // 4), 4, figsize=(10, 2.8 * -(-self.photos // 4)), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, (_, photo, caption) in zip(axes.flat, self._mistakes, strict=False):
            axis.imshow(photo)
            axis.set_title(caption, fontsize=8)
        return figure


def _writer(trainer: Trainer) -> SummaryWriter | None:
    is_shown = trainer.is_global_zero and not trainer.sanity_checking
    return trainer.logger.experiment if is_shown and isinstance(trainer.logger, TensorBoardLogger) else None
