"""The command line: python -m seefood.bulk PHOTOS ANSWERS."""

import argparse
import sys

import seefood.bulk
from seefood.errors import SeeFoodError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m seefood.bulk",
        description=seefood.bulk.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # then the defaults are those of `classify`
    )
    parser.add_argument("photos", help="a folder, or s3://bucket/prefix; every file below it counts")
    parser.add_argument("answers", help="a folder, or s3://bucket/prefix, for the Parquet files")
    parser.add_argument("--workers", type=positive, help="processes (default: the CPUs of this machine, or cluster)")
    parser.add_argument("--rows-per-file", type=positive, help="photos in a file of answers, at most (default: 5000)")
    parser.add_argument("--retry-errors", action="store_true", help="try again what has an error instead of an answer")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def main() -> int:
    options = vars(arguments())
    try:
        from seefood.bulk.run import classify  # takes seconds to import, which --help need not wait for
    except ModuleNotFoundError as error:
        print(f"bulk: needs {error.name}. Install the extra: pip install '.[bulk]'.", file=sys.stderr)
        return 2
    try:
        print(classify(options.pop("photos"), options.pop("answers"), **options))
    except SeeFoodError as error:
        print(f"bulk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bulk: stopped. The same command again does the rest.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
