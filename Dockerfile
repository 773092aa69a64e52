# The app as one image: for ECS, for `docker run -p 7860:7860`, and for a Space of the Docker kind. The model is copied in as
# it lies here: `make model` first, for there is no DVC in the image. `make container` builds it.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS packages
COPY requirements.lock /
# Without pip, and without what serving does not need of these packages: tests, converters, transfers to a hub, an editor of
# videos, and botocore's descriptions of the services of AWS but for S3 and those that sign in. Compiled, for nothing can be written later.
# `cd`, for the folder has Python's version in its name, and WORKDIR knows no pattern:
# hadolint ignore=DL3003
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
       --only-binary :all: -r requirements.lock \
    && cd /venv/lib/python3*/site-packages \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sso*' ! -name 'sts' -exec rm -r {} + \
    && find numpy -path '*/tests/*' -name 'test_*' -delete \
    && rm -r pandas/tests hf_xet gradio/templates/node gradio/templates/frontend/static/ffmpeg gradio/media_assets \
       onnxruntime/transformers onnxruntime/tools onnxruntime/quantization \
    && python -m compileall -q -j 0 /venv/lib

FROM ${BASE_IMAGE}
COPY --from=packages /venv /venv
WORKDIR /app
COPY app.py LICENSE ./
COPY seefood seefood
COPY examples examples
COPY models/seefood.onnx models/
RUN /venv/bin/python -m compileall -q seefood
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_TEMP_DIR=/tmp/gradio
USER 10001:10001
EXPOSE 7860
VOLUME /tmp
# ECS heeds the one of its task definition instead. The address is this machine's own: the port is that of ENV.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"GRADIO_SERVER_PORT\"]}/healthz', timeout=4)"]
# Last, for they differ with each commit.
ARG COMMIT=unknown
ARG MODEL=unknown
ARG SOURCE=https://github.com/your-name/seefood102
LABEL org.opencontainers.image.title="SeeFood102" \
      org.opencontainers.image.description="Which of 101 dishes is on a photo, or that it is none of them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.seefood102.model="${MODEL}"
ENV SEEFOOD_COMMIT=${COMMIT}
CMD ["python", "app.py"]
