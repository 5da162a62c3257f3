"""torch.nn.modules: the files here by the names that torch has for them.

>>> from gradwire.nn.modules.batchnorm import _BatchNorm
>>> import gradwire as torch
>>> isinstance(torch.nn.BatchNorm2d(3), _BatchNorm)
True
"""

from __future__ import annotations

import sys

from gradwire.nn import (
    activation,
    adaptive,
    containers,
    conv,
    lazy,
    linear,
    loss,
    module,
    norm,
    rnn,
    transformer,
    tuples,
)

FILES = {
    **dict.fromkeys(
        ("activation", "distance", "dropout", "flatten", "fold", "padding", "pixelshuffle", "pooling", "upsampling"),
        activation,
    ),
    **dict.fromkeys(("batchnorm", "instancenorm", "normalization"), norm),
    **dict.fromkeys(("linear", "sparse"), linear),
    "adaptive": adaptive, "container": containers, "conv": conv, "lazy": lazy, "loss": loss, "module": module,
    "rnn": rnn, "transformer": transformer, "utils": tuples,
}  # fmt: skip
globals().update(FILES)
sys.modules.update({f"{__name__}.{name}": file for name, file in FILES.items()})
