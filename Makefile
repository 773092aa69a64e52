# `make run` and `make test` do all the set-up. PYTHON is any Python from 3.11 on.
PYTHON ?= python3
SERVING := .venv/.serving
DEVELOPMENT := .venv/.development
DVC := .dvc-venv/.installed
LINT := .lint-venv/.installed
INFRASTRUCTURE := .infrastructure-venv/.installed
DRIFT := .drift-venv/.installed
TEMPLATES := deploy/foundation.yaml deploy/service.yaml deploy/search.yaml
IMAGE ?= seefood102:latest
FIRST := runs/default/checkpoints/best.ckpt
SECOND := runs/second_leg/checkpoints/best.ckpt
CKPT ?= $(SECOND) $(SECOND) $(FIRST)
FROM ?= $(SEEFOOD_FEEDBACK)
TO ?= runs/feedback
# Keep what one step has freed for the next: given back to the kernel each time, it costs half of the training's speed.
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184

.DEFAULT_GOAL := help
.PHONY: help run model test container container-test bench bench-training bench-bulk \
	lint lint-code lint-workflows lint-infrastructure style train export screenshots model-version model-push lock clean \
	drift space review feedback-dataset

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 21

run: $(SERVING) model  ## serve the embedded model on http://127.0.0.1:7860
	.venv/bin/python app.py

model: models/seefood.onnx  ## pull the model file that models.dvc names, unless export.py has just made one

test: $(DEVELOPMENT) model  ## run the whole test suite
	.venv/bin/python -m pytest

container: model  ## build the image IMAGE with docker or buildah
	deploy/build.sh $(IMAGE)

container-test: $(DEVELOPMENT) container  ## build the image (with buildah, as root), run it, compare its answers, push it
	SEEFOOD_IMAGE=$(IMAGE) .venv/bin/python -m pytest tests/test_container.py tests/test_try_image.py tests/test_deploy.py

bench: $(DEVELOPMENT) model  ## measure speed, start and memory, beside plain Gradio, FastAPI and PyTorch
	for part in photo telemetry classify start api soak; do echo; echo "$$part"; .venv/bin/python benchmarks/$$part.py || exit; done
	@echo; echo loop
	$(KEEP_MEMORY) .venv/bin/python benchmarks/loop.py

# The quickest first: whoever mends code sees its errors at once.
lint: lint-code lint-workflows lint-infrastructure  ## check all that the next three check

lint-code: $(DEVELOPMENT)  ## check format, style and types
	.venv/bin/ruff format --check . && .venv/bin/ruff check .
	.venv/bin/mypy

lint-workflows: $(LINT)  ## check the workflows, the Dockerfile and the shell scripts
	.lint-venv/bin/actionlint -shellcheck .lint-venv/bin/shellcheck
	.lint-venv/bin/zizmor --offline --no-progress .github
	.lint-venv/bin/hadolint Dockerfile
	.lint-venv/bin/shellcheck deploy/*.sh .ci/run

lint-infrastructure: $(INFRASTRUCTURE)  ## check the CloudFormation templates
	.infrastructure-venv/bin/cfn-lint $(TEMPLATES)
	.infrastructure-venv/bin/checkov --skip-download --quiet --compact --framework cloudformation -f $(TEMPLATES)

style: $(DEVELOPMENT)  ## mend format and style
	.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

train: $(DEVELOPMENT)  ## train the embedded model (set SEEFOOD_DATA; three hours on two cores)
	.venv/bin/python -m seefood.training.made runs/made 1500
	$(KEEP_MEMORY) .venv/bin/python train.py fit --config configs/default.yaml
	$(KEEP_MEMORY) .venv/bin/python train.py fit --config configs/default.yaml --config configs/second_leg.yaml

export: $(DEVELOPMENT)  ## export CKPT=... to models/, measured, with its model card
	.venv/bin/python export.py --ckpt $(CKPT) --image-size 120 --int8-weights --test --compare

bench-training: $(DEVELOPMENT)  ## how many photos a second each choice of training takes
	$(KEEP_MEMORY) .venv/bin/python benchmarks/training.py

bench-bulk: $(DEVELOPMENT) model  ## compare seefood.bulk with a loop over Predictor, on 5,000 photos (six minutes on two cores)
	.venv/bin/python benchmarks/bulk.py

screenshots: $(DEVELOPMENT) model  ## take the pictures of the page that README.md shows (needs Chromium)
	.venv/bin/python tests/screenshots.py docs

model-version: $(DVC)  ## make models/seefood.onnx the version that models.dvc names
	.dvc-venv/bin/dvc commit --force models.dvc && .dvc-venv/bin/dvc push

model-push: $(DVC)  ## copy that version to your own bucket, DVC's remote `s3`
	.dvc-venv/bin/dvc push --remote s3

space: $(SERVING) model  ## mirror the app and the model to the Hugging Face Space SPACE=your-name/seefood102
	SPACE=$(SPACE) .venv/bin/python -m deploy.space

drift: $(DRIFT)  ## compare the log LOG=folder, s3://... or cloudwatch:group with the validation (OPTIONS='--days 7')
	.drift-venv/bin/python -m deploy.drift $(LOG) $(OPTIONS)

review: $(SERVING) model  ## accept or correct what visitors said: FROM=folder or s3://bucket/prefix, as SEEFOOD_FEEDBACK
	.venv/bin/python -m seefood.serving.review $(FROM)

feedback-dataset: $(DEVELOPMENT) model  ## make a source of train.py of what was accepted: FROM=... TO=runs/feedback
	.venv/bin/python -m seefood.training.feedback $(OPTIONS) $(FROM) $(TO)

lock: $(DEVELOPMENT)  ## pin the serving requirements, with and without hashes
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header pyproject.toml -o requirements.txt
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --generate-hashes --extra aws pyproject.toml -o requirements.lock

clean:  ## remove the environments
	rm -rf .venv .dvc-venv .lint-venv .infrastructure-venv .drift-venv

$(SERVING): requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet -r requirements.txt
	touch $@

$(DEVELOPMENT): $(SERVING) pyproject.toml
	.venv/bin/pip install --quiet -c requirements.txt -e '.[train,dev]'
	touch $@

models/seefood.onnx: models.dvc | $(DVC)
	.dvc-venv/bin/dvc pull
	touch $@

# Tools whose pins fight with the app's: each dependency group of pyproject.toml in an environment of its own.
.%-venv/.installed: pyproject.toml
	$(PYTHON) -m venv .$*-venv
	.$*-venv/bin/pip install --quiet --upgrade 'pip>=25.1'
	.$*-venv/bin/pip install --quiet --group $*
	touch $@
