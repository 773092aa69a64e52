"""The fast weight gradient of depthwise convolutions is PyTorch's."""

import copy

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn

from seefood.training.depthwise import FastDepthwise, hasten_depthwise


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "same", "bias"),
    [
        (3, 5, 1, False, False),  # a kernel larger than its map
        (4, 5, 1, False, True),
        (7, 5, 2, False, False),
        (8, 5, 2, True, True),
        (9, 7, 1, False, False),
        (12, 5, 1, False, False),
        (24, 5, 2, True, False),  # too large: PyTorch's own
    ],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_pytorch(size, kernel, stride, same, bias, memory_format):
    torch.manual_seed(0)
    padding = {} if same else {"padding": kernel // 2}
    plain = (Conv2dSame if same else nn.Conv2d)(12, 12, kernel, stride, groups=12, bias=bias, **padding).double()
    fast = FastDepthwise(copy.deepcopy(plain))
    photos = torch.randn(5, 12, size, size, dtype=torch.float64).contiguous(memory_format=memory_format)
    ours, theirs = photos.clone().requires_grad_(), photos.clone().requires_grad_()
    answer, expected = fast(ours), plain(theirs)
    torch.testing.assert_close(answer, expected)
    weighting = torch.randn_like(expected)
    (answer * weighting).sum().backward()
    (expected * weighting).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    for (name, parameter), other in zip(fast.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_only_large_depthwise_kernels_are_replaced_and_names_stay():
    network = timm.create_model("tf_efficientnet_lite0")
    names = list(network.state_dict())
    hasten_depthwise(network)
    hasten_depthwise(network)  # once more changes nothing
    assert list(network.state_dict()) == names
    fast = [module for module in network.modules() if isinstance(module, FastDepthwise)]
    assert len(fast) == 9
    assert {module.kernel_size for module in fast} == {(5, 5)}
    assert sum(module.same for module in fast) == 2


def test_evaluation_and_frozen_kernels_take_the_plain_way():
    module = FastDepthwise(nn.Conv2d(4, 4, 5, padding=2, groups=4))
    assert "_Depthwise" in str(module(torch.zeros(1, 4, 3, 3)).grad_fn)
    assert "_Depthwise" not in str(module.eval()(torch.zeros(1, 4, 3, 3)).grad_fn)
    module.train().weight.requires_grad_(False)
    assert "_Depthwise" not in str(module(torch.zeros(1, 4, 3, 3)).grad_fn)
