"""The metrics of a classifier of food, for training and for export alike."""

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

CALIBRATION_BINS = 15


def food_metrics(classes: int, prefix: str = "") -> MetricCollection:
    """Top-1, top-5, macro F1 and expected calibration error (15 bins), each in [0, 1], of probabilities [N, C].

    With fewer than five classes, top-5 counts all of them.
    """
    return MetricCollection(
        {
            "top1": MulticlassAccuracy(classes, average="micro"),
            "top5": MulticlassAccuracy(classes, average="micro", top_k=min(5, classes)),
            "f1": MulticlassF1Score(classes, average="macro"),
            "ece": MulticlassCalibrationError(classes, n_bins=CALIBRATION_BINS),
        },
        prefix=prefix,
    )
