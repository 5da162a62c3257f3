"""Jacobian, hessian and their products with vectors, of Python functions. Signatures and errors are torch's.

Forward-mode products are made of two backward passes: ``u -> uᵀJ`` is linear in ``u``, and its own backward pass
with ``v`` is ``Jv``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradwire as torch

Tensors = tuple[Any, ...]

INDEPENDENT_OUTPUT = (
    "The output of the user-provided function is independent of input {i}. This is not allowed in strict mode."
)
NO_GRADIENT = {
    "outputs": (
        "Output {i} of the user-provided function does not require gradients. The outputs must be computed in a "
        "differentiable manner from the input when running in strict mode."
    ),
    "grad_inputs": (
        "The gradient with respect to input {i} is independent of the inputs of the user-provided function. "
        "This is not allowed in strict mode."
    ),
    "jacobian": (
        "While computing the hessian, found that the jacobian of the user-provided function with respect to input "
        "{i} is independent of the input. This is not allowed in strict mode. You should ensure that your function "
        "is twice differentiable and that the jacobian depends on the inputs (this would be violated by a linear "
        "function for example)."
    ),
}
UNUSED = {
    "back": INDEPENDENT_OUTPUT,
    "back_trick": (
        "The gradient with respect to the input is independent of entry {i} in the grad_outputs when using the double "
        "backward trick to compute forward mode gradients. This is not allowed in strict mode."
    ),
    "double_back": (
        "The jacobian of the user-provided function is independent of input {i}. This is not allowed in strict mode."
    ),
    "double_back_trick": (
        "The hessian of the user-provided function is independent of entry {i} in the grad_jacobian. This is not "
        "allowed in strict mode as it prevents from using the double backward trick to replace forward mode AD."
    ),
}
CONSTANT = (
    "The {what} of the user-provided function is independent of input {i}. This is not allowed in strict mode when "
    "create_graph=True."
)
V_OF_INPUT = (
    "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
)
V_OF_OUTPUT = (
    "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
)
OUTPUTS = "outputs of the user-provided function"


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """``func(*inputs)`` and the product of ``v`` with its jacobian."""
    with torch.enable_grad():
        several, leaves = _leaves(inputs, "vjp", create_graph)
        several_out, outputs = _call(func, leaves, "vjp", strict)
        weights = _weights(v, outputs, several_out, "vjp", V_OF_OUTPUT)
    with torch.set_grad_enabled(create_graph or torch.is_grad_enabled()):
        product = _filled(_grad(outputs, leaves, weights, create_graph), leaves, "back", strict, create_graph)
    return _packed(outputs, several_out, create_graph), _packed(product, several, create_graph)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """``func(*inputs)`` and the product of its jacobian with ``v``."""
    with torch.enable_grad():
        several, leaves = _leaves(inputs, "jvp", create_graph)
        weights = _weights(v, leaves, several, "jvp", V_OF_INPUT)
        several_out, outputs = _call(func, leaves, "jvp", strict)
        seeds, rows = _linear_in_seeds(outputs, leaves)
        if strict:
            _need_gradients(rows, "grad_inputs")
    with torch.set_grad_enabled(create_graph or torch.is_grad_enabled()):
        product = _filled(_grad(rows, seeds, weights, create_graph), outputs, "back_trick", strict, create_graph)
    return _packed(outputs, several_out, create_graph), _packed(product, several_out, create_graph)


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """The scalar ``func(*inputs)`` and the product of ``v`` with its hessian."""
    with torch.enable_grad():
        several, leaves, weights, outputs, slopes = _slopes("vhp", func, inputs, v, create_graph, strict)
    with torch.set_grad_enabled(create_graph or torch.is_grad_enabled()):
        product = _filled(_grad(slopes, leaves, weights, create_graph), leaves, "double_back", strict, create_graph)
    return _packed(outputs, False, create_graph), _packed(product, several, create_graph)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """The scalar ``func(*inputs)`` and the product of its hessian with ``v``; :func:`vhp` is the cheaper spelling."""
    with torch.enable_grad():
        several, leaves, weights, outputs, slopes = _slopes("hvp", func, inputs, v, create_graph, strict)
        seeds, rows = _linear_in_seeds(slopes, leaves)
    with torch.set_grad_enabled(create_graph or torch.is_grad_enabled()):
        product = _grad(rows, seeds, weights, create_graph)
        product = _filled(product, leaves, "double_back_trick", strict, create_graph)
    return _packed(outputs, False, create_graph), _packed(product, several, create_graph)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The jacobian of ``func``: for each output and input a tensor of the output's shape followed by the input's.

    ``strategy="forward-mode"`` works a column at a time, which is faster where inputs are fewer than outputs.
    """
    _check_modes(create_graph, strict, vectorize, strategy)
    with torch.enable_grad():
        several, leaves = _leaves(inputs, "jacobian", create_graph)
        several_out, outputs = _call(func, leaves, "jacobian", strict)
        if strategy == "forward-mode":
            blocks = _by_columns(outputs, leaves)
        elif vectorize:
            blocks = [_at_once(out, leaves, create_graph) for out in outputs]
        else:
            blocks = [_by_rows(i, out, leaves, strict, create_graph) for i, out in enumerate(outputs)]
    rows = tuple(_packed(tuple(row), several, create_graph) for row in blocks)
    return rows if several_out else rows[0]


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The hessian of a scalar function: for each pair of inputs a tensor of the first's shape followed by the other's.
    """
    several, _ = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def slopes(*args: Any) -> Any:
        def scalar(*at: Any) -> Any:
            return _one_number(*_call(func, at, "hessian", strict), "hessian").squeeze()

        found = jacobian(scalar, args, create_graph=True)
        if strict:
            _need_gradients(found, "jacobian")
        return found

    found = jacobian(slopes, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if several else found[0]


def _as_tuple(value: Any, what: str, who: str) -> tuple[bool, Tensors]:
    """Whether several were given, and the tuple of them."""
    several = isinstance(value, tuple)
    values = value if several else (value,)
    for i, v in enumerate(values):
        if not isinstance(v, torch.Tensor):
            which = f"value at index {i}" if several else f"given {what}"
            raise TypeError(
                f"The {what} given to {who} must be either a Tensor or a tuple of Tensors but the {which} "
                f"has type {type(v)}."
            )
    return several, values


def _leaves(inputs: Any, who: str, create_graph: bool) -> tuple[bool, Tensors]:
    """The inputs as tensors of their own to differentiate by; under ``create_graph`` their history stays."""
    several, values = _as_tuple(inputs, "inputs", who)
    return several, tuple(
        x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in values
    )


def _call(func: Callable[..., Any], leaves: Tensors, who: str, strict: bool) -> tuple[bool, Tensors]:
    several, outputs = _as_tuple(func(*leaves), OUTPUTS, who)
    if strict:
        _need_gradients(outputs, "outputs")
    return several, outputs


def _need_gradients(tensors: Tensors, what: str) -> None:
    for i, t in enumerate(tensors):
        if t is None:
            raise RuntimeError(INDEPENDENT_OUTPUT.format(i=i))
        if not t.requires_grad:
            raise RuntimeError(NO_GRADIENT[what].format(i=i))


def _weights(v: Any, like: Tensors, several: bool, who: str, missing: str) -> Tensors | None:
    """``v`` as a tuple of the sizes of ``like``; None stands for a single 1."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(missing)
        return None
    _, weights = _as_tuple(v, "v", who)
    if len(weights) != len(like):
        if several:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(weights)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (w, x) in enumerate(zip(weights, like, strict=True)):
        if w.size() != x.size():
            entry = f"Entry {i} in " if several else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {x.size()} but got {w.size()}.")
    return weights


def _grad(
    outputs: Tensors,
    inputs: Tensors,
    weights: Tensors | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Tensors:
    """``autograd.grad`` that passes over outputs without a graph, and answers None for inputs without influence."""
    pairs = zip(outputs, weights or [None] * len(outputs), strict=True)
    live = [(out, w) for out, w in pairs if out is not None and out.requires_grad]
    if not live:
        return (None,) * len(inputs)
    outs, grad_outputs = zip(*live, strict=True)
    return tuple(torch.autograd.grad(outs, inputs, grad_outputs, retain_graph, create_graph, allow_unused=True))


def _linear_in_seeds(outputs: Tensors, inputs: Tensors) -> tuple[Tensors, Tensors]:
    """Zeros like the outputs that can be differentiated by, and the gradients of the inputs as functions of them."""
    seeds = tuple(torch.zeros_like(out, requires_grad=True) for out in outputs)
    return seeds, _grad(outputs, inputs, seeds, create_graph=True)


def _filled(grads: Tensors, like: Tensors, stage: str, strict: bool, create_graph: bool) -> Tensors:
    """Zeros where no gradient came; in strict mode that is an error, and so is one that depends on nothing."""
    filled = []
    for i, (g, x) in enumerate(zip(grads, like, strict=True)):
        if g is None:
            if strict:
                raise RuntimeError(UNUSED[stage].format(i=i))
            g = torch.zeros_like(x)
        elif strict and create_graph and not g.requires_grad:
            raise RuntimeError(CONSTANT.format(i=i, what="hessian" if "double" in stage else "jacobian"))
        filled.append(g)
    return tuple(filled)


def _packed(tensors: Tensors, several: bool, keep_graph: bool) -> Any:
    kept = tensors if keep_graph else tuple(t.detach() for t in tensors)
    return kept if several else kept[0]


def _one_number(several: bool, outputs: Tensors, who: str) -> Any:
    if several:
        raise RuntimeError(f"The function given to {who} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {who} should contain a single element")
    return outputs[0]


def _slopes(
    who: str, func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool
) -> tuple[bool, Tensors, Tensors | None, Tensors, Tensors]:
    """What both hessian products begin with: the gradient of a scalar function, with its graph."""
    several, leaves = _leaves(inputs, who, create_graph)
    weights = _weights(v, leaves, several, who, V_OF_INPUT)
    several_out, outputs = _call(func, leaves, who, strict)
    _one_number(several_out, outputs, who)
    slopes = _grad(outputs, leaves, create_graph=True)
    if strict:
        _need_gradients(slopes, "jacobian")
    return several, leaves, weights, outputs, slopes


def _check_modes(create_graph: bool, strict: bool, vectorize: bool, strategy: str) -> None:
    who = "torch.autograd.functional.jacobian: "
    instead = 'are not supported together (yet). Please either set `{}=False` or `strategy="reverse-mode"`.'
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs '
            'than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".'
        )
    if strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError(
                f'{who}`create_graph=True` and `strategy="forward-mode"` {instead.format("create_graph")}'
            )
        if strict:
            raise RuntimeError(f'{who}`strict=True` and `strategy="forward-mode"` {instead.format("strict")}')
        if not vectorize:
            raise NotImplementedError(
                "Computing Jacobian using forward-AD or forward-over-reverse Hessian is"
                "only implemented for `vectorize=True`."
            )
    elif vectorize and strict:
        raise RuntimeError(
            f"{who}`strict=True` and `vectorized=True` are not supported together. "
            "Please either set `strict=False` or `vectorize=False`."
        )


def _by_rows(i: int, out: Any, leaves: Tensors, strict: bool, create_graph: bool) -> list[Any]:
    """The blocks of output ``i``, made of one backward pass for each of its elements."""
    rows: list[list[Any]] = [[] for _ in leaves]
    flat = out.reshape(-1)
    for j in range(out.numel()):
        for k, g in enumerate(_grad((flat[j],), leaves, None, create_graph, retain_graph=True)):
            if g is None and strict:
                raise RuntimeError(
                    f"Output {i} of the user-provided function is independent of input {k}. "
                    "This is not allowed in strict mode."
                )
            if g is not None and strict and create_graph and not g.requires_grad:
                raise RuntimeError(CONSTANT.format(i=i, what="jacobian"))
            rows[k].append(torch.zeros_like(leaves[k]) if g is None else g)
    return [torch.stack(row).view(out.size() + x.size()) for row, x in zip(rows, leaves, strict=True)]


def _at_once(out: Any, leaves: Tensors, create_graph: bool) -> list[Any]:
    """The blocks of an output, made of one pass from all its elements."""
    found = _grad_many(out, leaves, create_graph)
    return [x.new_zeros(out.shape + x.shape) if g is None else g.view(out.shape + x.shape)
            for g, x in zip(found, leaves, strict=True)]  # fmt: skip


def _by_columns(outputs: Tensors, leaves: Tensors) -> list[list[Any]]:
    """All blocks, made of a forward product along all elements of an input at once, for each input."""
    seeds, rows = _linear_in_seeds(outputs, leaves)
    blocks: list[list[Any]] = [[] for _ in outputs]
    for x, row in zip(leaves, rows, strict=True):
        for g, out, block in zip(_grad_many(row, seeds), outputs, blocks, strict=True):
            shape = out.shape + x.shape
            block.append(out.new_zeros(shape) if g is None else g.movedim(0, -1).reshape(shape))
    return blocks


def _grad_many(output: Any, inputs: Tensors, create_graph: bool = False) -> Tensors:
    """Gradients of each element of the output, along a dimension in front; None for inputs without influence."""
    if output is None or not output.requires_grad or not output.numel():
        return (None,) * len(inputs)
    n = output.numel()
    units = torch.eye(n, dtype=output.dtype).reshape(n, *output.shape)
    return torch.autograd.grad(output, inputs, units, True, create_graph, allow_unused=True, is_grads_batched=True)
