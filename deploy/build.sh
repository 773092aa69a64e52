#!/usr/bin/env bash
# Build the image: deploy/build.sh seefood102:latest
# With BUILDER=docker or buildah (default: the one that is there), BASE_IMAGE for another base, and BUILD_FLAGS for more
# options of it. The model must lie in models/ (make model).
set -euo pipefail
cd "$(dirname "$0")/.."

builder=${BUILDER:-$(basename "$(command -v docker buildah | head -n 1)")}
[[ -n $builder ]] || { echo "Neither docker nor buildah is installed." >&2; exit 1; }
[[ -f models/seefood.onnx ]] || { echo "models/seefood.onnx: missing. Run: make model" >&2; exit 1; }
read -ra flags <<<"${BUILD_FLAGS:-}"
if [[ $builder == buildah ]]; then
  flags+=(--format docker)  # the other format has no health check
fi
if [[ -n ${BASE_IMAGE:-} ]]; then
  flags+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
fi
"$builder" build "${flags[@]}" \
  --build-arg "COMMIT=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  --build-arg "MODEL=$(sha256sum models/seefood.onnx | cut -c 1-12)" \
  --tag "${1:?a name for the image}" .
