"""TensorFlow's "same" padding, for networks that were trained with it."""

from torch import Tensor, nn
from torch.nn import functional


class SamePadded(nn.Conv2d):
    """A convolution with stride 2 that pads images of even sides less at the top and left, or not at all."""

    def forward(self, images: Tensor) -> Tensor:
        total = self.kernel_size[0] - 2
        before = total // 2
        after = total - before
        convolved: Tensor = self._conv_forward(
            functional.pad(images, (before, after, before, after)), self.weight, self.bias
        )
        return convolved


def pad_like_tensorflow(network: nn.Module) -> None:
    """Change the padding of all convolutions with stride 2, in place. Others pad alike in both frameworks."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.kernel_size[0] > 1:
            module.__class__ = SamePadded
            module.padding = (0, 0)
