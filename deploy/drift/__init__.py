"""Are the photos and answers of a period still like those of validation? Compares the app's log with the reference.

    python -m deploy.drift logs/                                      a folder of the app's lines; the last 7 days
    python -m deploy.drift s3://bucket/prefix --since 2026-11-01 --until 2026-11-08
    python -m deploy.drift cloudwatch:/ecs/seefood102 --days 1 --namespace SeeFood102
    python -m deploy.drift logs/ --write-reference reference.csv.gz   later periods are compared with this one

Writes report.html and verdict.json. Exit code 0: no drift, or too few photos to tell; 1: drift; 2: it could not be
looked for. Runs in an environment of its own: `make drift LOG=... OPTIONS='--days 1'`.
"""
