"""Training and serving meet in the model file alone: neither wing's packages are imported in the other, or between."""

import ast

import pytest
from guarded_app import TRAINING_PACKAGES
from serving import ROOT

WINGS = {
    "training": ({*TRAINING_PACKAGES, "seefood.training"}, ("seefood/training/", "train.py", "export.py")),
    "serving": ({"gradio", "fastapi", "starlette", "uvicorn", "seefood.serving"}, ("seefood/serving/", "app.py")),
}
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.py"), *ROOT.glob("seefood/**/*.py")])


def imported(source, module):
    """Every name that a module imports, at its top or within, each also by the packages above it."""
    package = module.removesuffix(".py").split("/")[:-1]
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{origin}.{alias.name}" for alias in node.names]
    return {".".join(parts[:end]) for parts in (name.split(".") for name in names) for end in range(1, len(parts) + 1)}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("wing", WINGS)
def test_a_wings_packages_are_imported_in_that_wing_alone(module, wing):
    packages, home = WINGS[wing]
    if not module.startswith(home):
        assert not imported((ROOT / module).read_text(), module) & packages


def test_an_import_is_seen_wherever_it_stands():
    source = "def f():\n    from .training import data\n    import torch.nn as nn\n"
    assert imported(source, "seefood/bulk.py") >= {"torch", "seefood.training"}
