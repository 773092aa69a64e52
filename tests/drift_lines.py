"""Lines as the app logs them, for the tests of drift."""

import json
from datetime import UTC, datetime, timedelta

from seefood.names import NOT_FOOD
from seefood.statistics import image_statistics

YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def line(row, *, time=YESTERDAY):
    """The line of a photo; `row` has the fields of the reference."""
    top = [{"label": row["label"], "probability": row["confidence"]}, {"label": "ramen", "probability": 0.0}]
    fields = ("brightness", "contrast", "sharpness", "confidence", "not_food", "low_confidence", "model")
    stamp = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {"time": stamp, "event": "request", "error": None, "top": top, **{name: row[name] for name in fields}}
    )


def row_of(predictor, photo):
    """What the app says of a photo, with the fields of the reference."""
    (label, confidence), *_ = predictor.predict(photo).top(5)
    return {
        **image_statistics(predictor.input_of(photo)),
        "label": label,
        "confidence": confidence,
        "not_food": label == NOT_FOOD,
        "low_confidence": confidence < predictor.metadata.thresholds["unsure"],
        "model": predictor.digest,
    }
