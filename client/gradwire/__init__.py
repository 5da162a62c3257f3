"""gradwire: PyTorch's autograd as a network service, in torch's own words.

>>> import gradwire as torch
>>> x = torch.tensor([-3.0, 2.0, 5.0], requires_grad=True)
>>> x.pow(3).sum().backward()
>>> x.grad
tensor([27., 12., 75.])

With no server named the first call starts one; :func:`connect` names one.
"""

from __future__ import annotations

from gradwire import forks as _forks  # noqa: F401 - it imports gRPC its own way

# isort: split

import importlib
import math
import sys
from importlib import metadata
from typing import Any

from gradwire import amp as amp
from gradwire import autograd as autograd
from gradwire import bind as _bind
from gradwire import nn as nn
from gradwire import random as random
from gradwire import types as _types
from gradwire.amp.autocast_mode import (
    autocast,
    get_autocast_dtype,
    is_autocast_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from gradwire.autograd.anomaly_mode import is_anomaly_check_nan_enabled, is_anomaly_enabled, set_anomaly_enabled
from gradwire.autograd.grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from gradwire.autograd.inference import is_inference_mode_enabled
from gradwire.defaults import default_dtype as get_default_dtype
from gradwire.defaults import get_default_device, set_default_device, set_default_dtype
from gradwire.errors import OutOfMemoryError
from gradwire.printing import set_printoptions
from gradwire.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)  # fmt: skip
from gradwire.session import Session, attach, connect, current
from gradwire.tensor import Tensor
from gradwire.types import Size, device, dtype, finfo, iinfo, layout, memory_format
from gradwire.waits import deadline
from gradwire_proto.errors import LinAlgError

__version__ = metadata.version("gradwire")
e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None
globals().update(_types.DTYPES | _types.LAYOUTS | _types.MEMORY_FORMATS)  # type: ignore[arg-type]


_bind.bind(sys.modules[__name__])
linalg.LinAlgError = LinAlgError  # type: ignore[name-defined]  # noqa: F821 - bound just now
from gradwire import func as func  # noqa: E402 - likewise
from gradwire import optim as optim  # noqa: E402 - needs what was bound
from gradwire.capture.compiled import Compiled, compile, programs  # noqa: E402 - likewise
from gradwire.func import vmap  # noqa: E402 - likewise
from gradwire.serialization import load, save  # noqa: E402 - likewise

nn.load()


def __getattr__(name: str) -> Any:
    if name in ("testing", "draw", "utils"):
        return importlib.import_module(f"gradwire.{name}")
    raise AttributeError(f"module 'gradwire' has no attribute {name!r}")


__all__ = [
    "Compiled",
    "Generator",
    "LinAlgError",
    "OutOfMemoryError",
    "Session",
    "Size",
    "Tensor",
    "amp",
    "attach",
    "autocast",
    "autograd",
    "compile",
    "connect",
    "current",
    "deadline",
    "default_generator",
    "device",
    "dtype",
    "enable_grad",
    "finfo",
    "func",
    "get_autocast_dtype",
    "get_default_device",
    "get_default_dtype",
    "get_rng_state",
    "iinfo",
    "inference_mode",
    "initial_seed",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_autocast_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "layout",
    "load",
    "manual_seed",
    "memory_format",
    "no_grad",
    "programs",
    "random",
    "save",
    "seed",
    "set_anomaly_enabled",
    "set_autocast_dtype",
    "set_autocast_enabled",
    "set_default_device",
    "set_default_dtype",
    "set_grad_enabled",
    "set_printoptions",
    "set_rng_state",
    "vmap",
]
