"""gradwire's engine: tensors, graph, derivatives and kernels. Knows arrays; knows nothing of gRPC."""

from gradwire_engine import checkpoint, derivatives, kernels
from gradwire_engine.backward import backward, grad
from gradwire_engine.engine import Engine
from gradwire_engine.tensor import Tensor

__all__ = ["Engine", "Tensor", "backward", "checkpoint", "derivatives", "grad", "kernels"]
