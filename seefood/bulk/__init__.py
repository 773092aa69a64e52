"""Photos by the million: classifies a folder, or a prefix in a bucket, on Ray Data, and writes the answers as Parquet.

    python -m seefood.bulk photos/ answers/                              one worker for each CPU of this machine
    python -m seefood.bulk s3://bucket/photos s3://bucket/answers --workers 2
    RAY_ADDRESS=FIRST:6379 python -m seefood.bulk s3://bucket/photos s3://bucket/answers       on a cluster

The same command again does the rest, after a crash as after photos were added. docs/scale.md has the columns, what
becomes of bad files, and how to run it on a cluster. Needs the extra: pip install '.[bulk]'.
"""
