"""The model card of a run: how good its best checkpoint was in validation, and how to go on from it."""

from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import ModelCard, ModelCardData

from seefood.training.card import eval_results
from seefood.training.data import FoodData
from seefood.training.sources import Source

TEMPLATE = """\
---
{{ card_data }}
---

# {{ run }}: a run of SeeFood102

{% if best -%}
`{{ architecture }}` at {{ size }} x {{ size }} px, {{ labels }} labels, trained by commit `{{ commit }}`
from the weights `{{ weights }}` on {{ sources }}. `{{ run }}/checkpoints/best.ckpt`, of step {{ "{:,}".format(step) }}:

| in validation | |
|---|---|
{% for name, value in metrics.items() -%}
| {{ name }} | {{ "%.4f" % value }} |
{% endfor %}
Validation photos were held out of the training splits. A test split had no part: `export.py --test` measures it.
{%- else -%}
This run has no best checkpoint: it ended before its first validation.
{%- endif %}

The TensorBoard log is in `{{ run }}`, with a few of the photos that were trained on.

## Go on from it

In a clone of SeeFood102:

```sh
{{ fetch }}
.venv/bin/python train.py fit --config runs/{{ run }}/config.yaml --ckpt_path runs/{{ run }}/checkpoints/last.ckpt
.venv/bin/python export.py --ckpt runs/{{ run }}/checkpoints/best.ckpt --model runs/{{ run }}/model.onnx \\
    --card runs/{{ run }}/card
```

The first brings the run back. The second goes on where it stopped (for longer, with `--trainer.max_epochs`). The third
makes of its best checkpoint the one file that the app serves, and measures it.
{% if is_food101 %}
Food-101 (Bossard et al., ECCV 2014) is free for research, and its photos are not for redistribution: read its terms
before you use the model for anything else, and before you show the log to others.
{% endif -%}
"""


def run_card(folder: Path, *, run: str, fetch: str) -> ModelCard:
    """The card of the run in a folder, by what `checkpoints/best.ckpt` in it tells.

    Args:
        folder: as train.py leaves it.
        run: its name.
        fetch: the shell command that brings it back into `runs/`.
    """
    best = folder / "checkpoints" / "best.ckpt"
    header: dict[str, Any] = {"tags": ["food", "image-classification"]}
    page: dict[str, Any] = {"run": run, "fetch": fetch, "best": best.exists()}
    if best.exists():
        checkpoint = torch.load(best, map_location="cpu", mmap=True)
        chosen, sources = checkpoint["hyper_parameters"], FoodData.load_from_checkpoint(best).sources
        metrics = checkpoint.get("metrics", {})  # before this was written, checkpoints had none
        paths = [source.path for source in sources]
        header["tags"].append(chosen["architecture"])
        if chosen["weights"] == "hub":
            header["base_model"] = timm.get_pretrained_cfg(chosen["architecture"]).hf_hub_id
        header["eval_results"] = list(
            eval_results(
                {name.removeprefix("val/"): value for name, value in metrics.items()},
                "validation",
                sources=paths,
                names=[source.name for source in sources],
            )
        )
        page |= {
            "architecture": chosen["architecture"],
            "weights": chosen["weights"],
            "size": chosen["image_size"],
            "labels": len(chosen["labels"]),
            "commit": checkpoint["commit"],
            "step": checkpoint["global_step"],
            "metrics": metrics,
            "sources": _listed(sources),
            "is_food101": "food101" in " ".join(paths),
        }
    data = ModelCardData(
        license="apache-2.0",
        library_name="pytorch-lightning",
        pipeline_tag="image-classification",
        model_name=f"SeeFood102 {run}",
        **header,
    )
    return ModelCard.from_template(data, template_str=TEMPLATE, **page)


def _listed(sources: list[Source]) -> str:
    return ", ".join(dict.fromkeys(f"`{source.name}`" for source in sources))
