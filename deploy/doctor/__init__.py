"""Looks, before anything is sent to AWS, for each known way in which the service would not come up.

python -m deploy.doctor                                     templates, Dockerfile, workflow, and the account if it can
python -m deploy.doctor --offline --set CpuArchitecture=ARM64
python -m deploy.doctor --strict --repository OWNER/REPOSITORY --set ImageUri=... --set BucketName=... ...
"""
