"""``torch.optim``: optimizers whose state lives on the server, and schedules of their learning rates."""

from __future__ import annotations

from gradwire.optim import lr_scheduler
from gradwire.optim.algorithms import SGD, Adagrad, Adam, AdamW, RMSprop
from gradwire.optim.optimizer import Optimizer

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
