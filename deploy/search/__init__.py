"""Put fields, retention, rights and dashboard into the OpenSearch domain of deploy/search.yaml.

    python -m deploy.search                                  the stack seefood102-search, in your account and region
    python -m deploy.search --stack name-search

Signed by the standard AWS chain, which must be that of the stack's AdminArn. Run it again after a change of its files.
"""
