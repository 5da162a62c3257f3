"""``torch.optim.lr_scheduler``: learning rates that change with the epochs.

Most schedules compute the next rate from the present one, so that several can be used on one optimizer. A rate that is
a tensor is written to, so that a captured program sees it.
"""

from __future__ import annotations

from gradwire.optim.lr_scheduler.base import LRScheduler
from gradwire.optim.lr_scheduler.combined import ChainedScheduler, SequentialLR
from gradwire.optim.lr_scheduler.cycles import CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from gradwire.optim.lr_scheduler.factors import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from gradwire.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
