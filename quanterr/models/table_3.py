"""The layers of the paper's table 3, and the models they belong to where torchvision or timm can fetch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .packages import require
from .photographs import crops

SIZE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class PaperLayer:
    """One line of table 3: `model` as `source` (torchvision or timm) names it, and the chunk width of the paper."""

    source: str
    model: str
    layer: str
    width: int
    remark: str = ""


TABLE_3 = (
    PaperLayer("torchvision", "mobilenet_v2", "features.8.conv.0.0", 32, "printed twice"),
    PaperLayer("torchvision", "mobilenet_v2", "features.8.conv.1.0", 32, "depthwise: 9 columns a group"),
    PaperLayer("torchvision", "mobilenet_v2", "features.11.conv.1.0", 32, "depthwise: 9 columns a group"),
    PaperLayer("timm", "efficientnet_lite0", "blocks.1.1.conv_pw", 32),
    PaperLayer(
        "timm",
        "efficientnet_lite0",
        "blocks.6.0.conv_pw",
        32,
        "printed as blocks.6.0.se.conv_expand_pruning, which no EfficientNet-lite has; the block's expansion instead",
    ),
    PaperLayer("torchvision", "resnet18", "layer1.0.conv2", 36),
    PaperLayer("torchvision", "resnet18", "layer1.1.conv1", 36),
    PaperLayer("torchvision", "resnet18", "layer3.0.downsample.0", 32),
    PaperLayer("torchvision", "resnet18", "layer2.0.downsample.0", 32),
    PaperLayer(
        "timm", "vit_small_patch16_224", "blocks.2.attn.proj", 36, "size not printed; chosen by its 81.3 % accuracy"
    ),
)
"""The layers of the paper's table 3, each as a `PaperLayer`."""


def table_3_layers(model: str) -> tuple[str, ...]:
    """Names of the table's layers of one model."""
    return tuple(line.layer for line in TABLE_3 if line.model == model)


def table_3_model(model: str, batch_size: int = 14) -> tuple[Any, list[Any], str]:
    """A model of the table with ImageNet weights (downloaded by torchvision or timm), photographs, and a description.

    Raises
    ------
    InputError
        If torchvision or timm is missing.
    """
    source = next(line.source for line in TABLE_3 if line.model == model)
    torch = require("torch", "torch", "pip install quanterr[torch]")
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if source == "torchvision":
        network = require("torchvision.models", "torchvision", "pip install torchvision").get_model(
            model, weights="IMAGENET1K_V1"
        )
    else:
        network = require("timm", "timm", "pip install timm").create_model(model, pretrained=True)
        mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    pixels = torch.from_numpy(crops(SIZE) / 255.0)
    images = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    description = f"{model} ({source}, ImageNet) on {len(images)} crops of photographs"
    return network.eval(), list(images.float().split(batch_size)), description
