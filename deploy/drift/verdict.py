"""What counts as drift, and the verdict on a period."""

from typing import Any

from deploy.drift.log import FLAGS, NUMBERS, Period, Photos

# The distance from which a column has drifted, by column; docs/drift.md has the measurements.
THRESHOLDS = {**dict.fromkeys(NUMBERS, 0.3), **dict.fromkeys(FLAGS, 0.1), "label": 0.4}
METRIC = "seefood_drift"
DRIFT_SHARE = 0.25  # of the columns: two of seven; one alone has harmless reasons, as a weekend of pizza
FEWEST = 200  # photos; of fewer, chance alone moves the columns


def verdict_of(photos: Photos, period: Period, model: str, columns: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What verdict.json says; without columns there were too few photos to say whether there is drift."""
    share = round(sum(column["drift"] for column in columns.values()) / len(columns), 4) if columns else None
    return {
        "drift": share is not None and share >= DRIFT_SHARE,
        "share": share,
        "columns": columns,
        "photos": len(photos.rows),
        "model": model,
        "since": period.since.isoformat(),
        "until": period.until.isoformat(),
        "passed_over": photos.passed_over,
        "other_time": photos.other_time,
        "other_model": photos.other_model,
    }
