"""Two tables of photos, by Evidently: how far apart is each column, and is that drift?

With thousands of photos every test of significance finds a difference, if one that matters to nobody. So what is
measured is how large the difference is, whatever the number of photos: for numbers the Wasserstein distance in standard
deviations of the reference, for the others the Jensen-Shannon distance, in [0, 0.83]. docs/drift.md has the reasons for
the thresholds.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

from deploy.drift.log import FLAGS, NUMBERS
from deploy.drift.verdict import DRIFT_SHARE, THRESHOLDS

NUMBER_METHOD, OTHER_METHOD = "wasserstein", "jensenshannon"


def compare(current: pd.DataFrame, reference: pd.DataFrame, report: Path) -> dict[str, dict[str, Any]]:
    """Compare the columns of `THRESHOLDS` and write Evidently's report, a page of HTML.

    Returns:
        Of each column its `score`, `threshold`, `method`, and whether that is `drift`.
    """
    definition = DataDefinition(numerical_columns=list(NUMBERS), categorical_columns=[*FLAGS, "label"])
    preset = DataDriftPreset(
        columns=list(THRESHOLDS),
        num_method=NUMBER_METHOD,
        cat_method=OTHER_METHOD,
        per_column_threshold=THRESHOLDS,
        drift_share=DRIFT_SHARE,
    )
    tables = (Dataset.from_pandas(table[list(THRESHOLDS)], definition) for table in (current, reference))
    found = Report([preset]).run(*tables)
    found.save_html(str(report))
    measured = [metric for metric in found.dict()["metrics"] if "column" in metric["config"]]
    scores = {metric["config"]["column"]: float(metric["value"]) for metric in measured}
    return {
        name: {
            "drift": scores[name] >= threshold,
            "score": round(scores[name], 4),
            "threshold": threshold,
            "method": NUMBER_METHOD if name in NUMBERS else OTHER_METHOD,
        }
        for name, threshold in THRESHOLDS.items()
    }
