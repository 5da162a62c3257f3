"""Derivatives of views. Each is the view run backwards, and its own derivative is the view again."""

from __future__ import annotations

from typing import Any

from gradwire_engine import functional as F
from gradwire_engine.registry import vjp
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.spec import Spec


def back(g: Any, input_spec: Spec) -> Any:
    return F.reshape(g, input_spec.shape)


def permute_input(g: Any, dims: tuple[int, ...]) -> Any:
    order = [wrap_dim(d, len(dims)) for d in dims]
    return F.permute(g, tuple(order.index(i) for i in range(len(order))))


vjp("view", input=back)
vjp("alias", input=lambda g: g)
vjp("expand", input=lambda g: g)  # the engine sums a gradient to its input's shape
vjp("permute", input=permute_input)
vjp("transpose", input=lambda g, dim0, dim1: F.transpose(g, dim0, dim1))
vjp("t", input=lambda g: F.t(g))
vjp("unsqueeze", input=back)
vjp("squeeze", input=back)
vjp("select", input=lambda g, input_spec, dim, index: F.select_backward(g, input_spec.shape, dim, index))
vjp("slice", input=lambda g, input_spec, dim, start, end, step:
    F.slice_backward(g, input_spec.shape, dim, start, end, step))  # fmt: skip
vjp("diagonal", input=lambda g, input_spec, offset, dim1, dim2:
    F.diagonal_backward(g, input_spec.shape, offset, dim1, dim2))  # fmt: skip
vjp("unfold", input=lambda g, input_spec, dimension, size, step:
    F.unfold_backward(g, input_spec.shape, dimension, size, step))  # fmt: skip
vjp("unbind", input=lambda gs, dim: F.stack(gs, dim))
vjp("split", input=lambda gs, dim: F.cat(gs, dim))
vjp("split_with_sizes", input=lambda gs, dim: F.cat(gs, dim))

vjp("select_backward", grad=lambda g, dim, index: F.select(g, dim, index))
vjp("slice_backward", grad=lambda g, dim, start, end, step: F.slice(g, dim, start, end, step))
vjp("diagonal_backward", grad=lambda g, offset, dim1, dim2: F.diagonal(g, offset, dim1, dim2))
vjp("unfold_backward", grad=lambda g, dim, size, step: F.unfold(g, dim, size, step))
