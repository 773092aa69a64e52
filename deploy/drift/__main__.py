"""The command line of drift: reads, compares, writes the report and the verdict, and sets the metric."""

import argparse
import json
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from botocore.exceptions import BotoCoreError, ClientError

import deploy.drift
from deploy.drift.log import DriftError, Period, lines_of, photos_of
from deploy.drift.verdict import FEWEST, METRIC, verdict_of


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.drift",
        description=deploy.drift.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("log", help="a folder, s3://bucket/prefix, or cloudwatch:LOG-GROUP")
    parser.add_argument("--days", type=float, default=7, help="length of the period (default: %(default)g)")
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help="its beginning, ISO 8601, UTC unless it says otherwise"
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="its end (default: now)")
    parser.add_argument("--reference", type=Path, default=Path("docs/model/reference.csv.gz"))
    parser.add_argument("--out", type=Path, default=Path("runs/drift"), help="folder of report.html and verdict.json")
    parser.add_argument(
        "--write-reference", type=Path, metavar="FILE", help="only write the period's photos as a reference"
    )
    parser.add_argument("--namespace", help=f"set {METRIC} in this namespace of CloudWatch")
    parser.add_argument("--service", default="seefood102", help="dimension of that metric (default: %(default)s)")
    parser.add_argument(
        "--prometheus", type=Path, metavar="FILE", help=f"set {METRIC} in a .prom file of the node exporter"
    )
    return parser.parse_args(given)


def moment(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def period_of(options: argparse.Namespace) -> Period:
    until = options.until or datetime.now(UTC)
    return Period(options.since or until - timedelta(days=options.days), until)


def read_reference(path: Path) -> tuple[pd.DataFrame, str]:
    """The reference, and the hash of the model whose it is."""
    if not path.is_file():
        raise DriftError(f"{path}: no such file. export.py writes it beside the model card.")
    try:
        table = pd.read_csv(path, dtype={"model": str})  # a hash such as 5e0287393344 is no number
        return table, table["model"][0]
    except (ValueError, KeyError) as error:
        raise DriftError(f"{path}: no reference ({error}). export.py writes one beside the model card.") from error


def set_metric(share: float, options: argparse.Namespace) -> None:
    if options.namespace:
        import boto3

        dimensions = [{"Name": "service", "Value": options.service}]
        metric = {"MetricName": METRIC, "Dimensions": dimensions, "Value": share, "Unit": "None"}
        boto3.client("cloudwatch").put_metric_data(Namespace=options.namespace, MetricData=[metric])
    if options.prometheus:
        from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

        registry = CollectorRegistry()
        Gauge(METRIC, "Share of the columns that are not as on the validation photos", registry=registry).set(share)
        write_to_textfile(str(options.prometheus), registry)


def drift(options: argparse.Namespace) -> bool:
    """Whether there is drift; raises DriftError when it cannot be looked for."""
    reference, model = read_reference(options.reference)
    period = period_of(options)
    photos = photos_of(lines_of(options.log, period), period, model)
    print(f"{len(photos.rows)} photos of model {model} from {period}")
    print(f"  left out: {photos.other_time} of another time, {photos.other_model} of another model,", end=" ")
    print(f"{photos.passed_over} lines without a photo")
    current = pd.DataFrame(photos.rows)
    enough = len(current) >= FEWEST
    if not enough:
        print(f"Too few to tell: it takes {FEWEST}. Look at a longer period.")
    if options.write_reference:
        if enough:
            current.assign(model=model).to_csv(options.write_reference, index=False)
        return False
    options.out.mkdir(parents=True, exist_ok=True)
    report = options.out / "report.html"
    report.unlink(missing_ok=True)  # of an earlier period
    columns = {}
    if enough:
        from deploy.drift.compare import compare  # takes seconds to import

        columns = compare(current, reference, report)
    verdict = verdict_of(photos, period, model, columns)
    (options.out / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n")
    if enough:
        print_columns(columns)
        print(f"{'Drift' if verdict['drift'] else 'No drift'}: {verdict['share']:.0%} of the columns; {report}")
        set_metric(verdict["share"], options)
    return bool(verdict["drift"])


def print_columns(columns: dict[str, dict[str, Any]]) -> None:
    for name, column in columns.items():
        mark = "drift" if column["drift"] else ""
        print(f"  {name:15} {column['score']:.3f} of {column['threshold']:.2f} {column['method']:14} {mark}".rstrip())


def main(given: list[str] | None = None) -> int:
    try:
        return int(drift(arguments(given)))
    except (DriftError, BotoCoreError, ClientError) as error:
        print(f"drift: {error}", file=sys.stderr)
    except Exception:  # Python's own exit code for it is 1, and that says drift
        traceback.print_exc()
    return 2


if __name__ == "__main__":
    sys.exit(main())
