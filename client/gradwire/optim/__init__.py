"""``torch.optim``: optimizers whose state lives on the server, and schedules of their learning rates."""

from __future__ import annotations

from gradwire.optim import lr_scheduler, swa_utils
from gradwire.optim.algorithms import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop
from gradwire.optim.composed import Adafactor, Muon
from gradwire.optim.lbfgs import LBFGS
from gradwire.optim.optimizer import Optimizer

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]
