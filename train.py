"""Fine-tune a timm network on photos of food, and test it.

A laptop, on dishes of one's own (a folder with a folder of photos for each dish):
    python train.py fit --config configs/own_dishes.yaml --data.sources '[{path: photos/}]'
One GPU, LeViT-256 on Food-101, a recipe after the paper's (downloads 5 GB once):
    python train.py fit --config configs/levit_256.yaml
Four GPUs on one machine; its learning rate is for 256 photos a step, over all of them:
    python train.py fit --config configs/levit_256.yaml --trainer.devices 4 --data.batch_size 64 \
        --trainer.sync_batchnorm true
Two machines with eight GPUs each, the same command on both; NODE_RANK is 0 on the first and 1 on the second:
    MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 NODE_RANK=0 \
        python train.py fit --config configs/levit_256.yaml --trainer.devices 8 --trainer.num_nodes 2 \
        --data.batch_size 16 --trainer.sync_batchnorm true
The same with torchrun, which also ends the processes of its machine when one of them fails; --node-rank is 0, then 1:
    torchrun --nnodes 2 --node-rank 0 --nproc-per-node 8 --master-addr 10.0.0.1 --master-port 29500 \
        train.py fit --config configs/levit_256.yaml --trainer.devices 8 --trainer.num_nodes 2 \
        --data.batch_size 16 --trainer.sync_batchnorm true
The same on a SLURM cluster, with --nodes 2 --ntasks-per-node 8; docs/training.md has the script for sbatch:
    srun --kill-on-bad-exit=1 python train.py fit --config configs/levit_256.yaml --trainer.devices 8 \
        --trainer.num_nodes 2 --data.batch_size 16 --trainer.sync_batchnorm true
Photos that stay in a bucket, in parquet files (docs/training.md says how they must be written):
    python train.py fit --config configs/levit_256.yaml --data.streaming true --data.validation_fraction 0.002 \
        --data.sources '[{path: s3://bucket/photos, test_split: test}]'
Go on where the last run of a configuration stopped:
    python train.py fit --config configs/levit_256.yaml --ckpt_path last
Measure the best checkpoint on the official test split:
    python train.py test --config configs/levit_256.yaml --ckpt_path runs/levit_256/checkpoints/best.ckpt

Let others watch it: log, checkpoints and card go to a model repository on the Hugging Face Hub, or to s3://bucket/prefix:
    HF_TOKEN=... python train.py fit --config configs/levit_256.yaml --online.to hf://you/seefood-runs

Note that `--data.sources` changes the sources of a configuration field by field: name test_split and weight, too, where
the configuration does.

Every argument of FoodData (--data.*), FoodClassifier (--model.*), Online (--online.*) and Lightning's Trainer
(--trainer.*) can be given; `python train.py fit --help` lists them. Watch with: tensorboard --logdir runs
"""

import sys

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from seefood.errors import SeeFoodError
from seefood.training.data import FoodData
from seefood.training.model import FoodClassifier
from seefood.training.online import Online


class SeeFoodCLI(LightningCLI):
    """Tells the model what the data knows, so that each number is given once."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(Online, "online")
        parser.link_arguments("data.labels", "model.labels", apply_on="instantiate")
        parser.link_arguments("data.image_size", "model.image_size")
        parser.link_arguments("data.crop", "model.crop")


def main(args: list[str] | None = None) -> SeeFoodCLI:
    """Run one command of `LightningCLI`: fit, validate or test."""
    return SeeFoodCLI(
        FoodClassifier, FoodData, save_config_kwargs={"overwrite": True}, auto_configure_optimizers=False, args=args
    )


if __name__ == "__main__":
    try:
        main()
    except SeeFoodError as error:
        sys.exit(f"train.py: {str(error).splitlines()[-1]}")  # a loader's process puts its traceback before
