#!/usr/bin/env bash
# Start an image as ECS will, and see that it answers as the model does and ends when it is told to:
#     deploy/try_image.sh seefood102:latest [table.json]
# With docker or podman (ENGINE). The table is one that `python -m deploy.smoke --write` made. WAIT is how many seconds it
# may take to start.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:?the name of an image}
table=${2:-}
engine=${ENGINE:-$(basename "$(command -v docker podman | head -n 1)")}
python=${PYTHON:-.venv/bin/python}

fail() {
  echo "$image $1. Its last lines:" >&2
  "$engine" logs --tail 40 "$container" >&2
  exit 1
}

container=$("$engine" run --detach --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
  --cpus 1 --memory 2g --publish 127.0.0.1::7860 "$image")
trap '"$engine" rm --force "$container" >/dev/null' EXIT
address=$("$engine" port "$container" 7860/tcp | head -n 1) || fail "ended at once"
"$python" -m deploy.smoke "http://$address" --wait "${WAIT:-120}" ${table:+--table "$table"} || fail "did not pass"
# ECS waits as long: StopTimeout in service.yaml.
"$engine" stop -t 30 "$container" >/dev/null
status=$("$engine" inspect --format '{{.State.ExitCode}}' "$container")
[[ $status == 0 ]] || fail "ended with $status after SIGTERM, not with 0"
