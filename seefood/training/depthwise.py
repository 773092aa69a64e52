"""Depthwise convolutions whose weight gradient is fast on a CPU, for training there."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MOST_PAIRS = 12**4  # of an input and an output position; with more, PyTorch's own gradient is as fast


class FastDepthwise(nn.Conv2d):
    """A depthwise `nn.Conv2d`, or timm's `Conv2dSame`, with the same weights, output and gradients.

    PyTorch computes the weight gradient of large depthwise kernels on small maps by a general
    path; here it is a matrix product for each channel. On maps of 3 x 3 to 12 x 12 it was 3 to 25 times as fast.

    Attributes:
        fast: whether to compute it so.
    """

    def __init__(self, like: nn.Conv2d):
        size = {name: getattr(like, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups")}
        super().__init__(like.in_channels, like.out_channels, bias=like.bias is not None, device="meta", **size)
        self.weight, self.bias = like.weight, like.bias
        self.same, self.fast = isinstance(like, Conv2dSame), True

    def forward(self, maps: Tensor) -> Tensor:
        if self.same:
            maps = pad_same(maps, self.kernel_size, self.stride)
        learns = self.training and self.weight.requires_grad
        if not (self.fast and learns and maps.device.type == "cpu"):
            return self._conv_forward(maps, self.weight, self.bias)
        return _Depthwise.apply(maps, self.weight, self.bias, self.stride, self.padding)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.padding, ctx.bias = stride, padding, bias is not None
        return F.conv2d(maps, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        small = maps[0, 0].numel() * grad[0, 0].numel() <= MOST_PAIRS
        grad_input, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, maps, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), len(weight),
            (ctx.needs_input_grad[0], not small, False),
        )  # fmt: skip
        if small:
            grad_weight = weight_gradient(maps, grad, weight.shape[2:], ctx.stride, ctx.padding)
        return grad_input, grad_weight, grad.sum(dim=(0, 2, 3)) if ctx.bias else None, None, None


def weight_gradient(
    maps: Tensor, grad: Tensor, kernel: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Gradient of a depthwise kernel, [C, 1, K, K], of its input [N, C, H, W] and its output's gradient [N, C, h, w].

    For each channel, the products of every input position with every output position, summed over the photos, are one
    matrix product; each kernel tap is then the sum over the pairs of positions that it connects.
    """
    photos, channels, *size = maps.shape
    rows, columns = (
        each.permute(0, 2, 3, 1).reshape(-1, channels).t().contiguous().view(channels, photos, -1)
        for each in (maps, grad)
    )
    pairs = torch.bmm(rows.mT, columns)
    taps = _taps(tuple(size), tuple(grad.shape[2:]), tuple(kernel), stride, padding, grad.dtype)
    return torch.sparse.mm(taps, pairs.view(channels, -1).t()).t().reshape(channels, 1, *kernel)


@cache
def _taps(
    maps: tuple[int, ...],
    output: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dtype: torch.dtype,
) -> Tensor:
    """Sparse 0/1 [K·K, H·W·h·w]: which pairs of an input and an output position each tap of the kernel connects."""
    y, x, v, u = torch.meshgrid(*(torch.arange(side) for side in (*output, *kernel)), indexing="ij")
    row, column = y * stride[0] + v - padding[0], x * stride[1] + u - padding[1]
    inside = (row >= 0) & (row < maps[0]) & (column >= 0) & (column < maps[1])
    pair = ((row * maps[1] + column) * output[0] + y) * output[1] + x
    tap = v * kernel[1] + u
    indices = torch.stack([tap[inside], pair[inside]])
    size = kernel[0] * kernel[1], maps[0] * maps[1] * output[0] * output[1]
    return torch.sparse_coo_tensor(
        indices, torch.ones(indices.shape[1], dtype=dtype), size, check_invariants=True
    ).coalesce()


def hasten_depthwise(network: nn.Module) -> None:
    """Replace a network's depthwise convolutions with kernels larger than 3 x 3, in place; smaller ones are fast."""
    for name, module in list(network.named_modules()):
        if (
            type(module) in (nn.Conv2d, Conv2dSame)
            and module.groups == module.in_channels == module.out_channels > 1
            and min(module.kernel_size) > 3
            and module.dilation == (1, 1)
        ):
            network.set_submodule(name, FastDepthwise(module))
