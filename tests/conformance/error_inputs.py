"""Whether what is wrong is said in PyTorch's words: its operator database's error inputs, run here.

Each is called as a function, a method and an in-place method, as far as PyTorch has it so and itself answers as its
database says. The error must be of the type, and its text match the pattern, that the database has.

    python tests/conformance/error_inputs.py -v            # each disagreement
    python tests/conformance/error_inputs.py --need 0.95   # exit status 1 below that fraction

Needs torch and expecttest; no test imports them, and this is none.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import gradwire

LEFT_OUT = re.compile(r"^jiterator|^_|^sparse|^to_sparse")
"""CUDA's own, PyTorch's internals, and sparse tensors, which there are none of here."""
REORDERED = {
    "where": lambda x, condition, y: gradwire.where(condition, x, y),
    "nn.functional.embedding": lambda weight, i, **k: gradwire.nn.functional.embedding(i, weight, **k),
}
"""Operators whose database entry calls torch in another order than the arguments'."""


class Foreign(Exception):
    """An argument that has no counterpart here."""


def carried(value: Any, memory: dict[int, Any]) -> Any:
    """An argument as gradwire has it. ``memory`` holds what tensors share, by its address."""
    if isinstance(value, torch.Tensor):
        return _tensor(value, memory)
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        found = getattr(gradwire, str(value).removeprefix("torch."), None)
        if found is None:
            raise Foreign(value)
        return found
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (list, tuple)):
        return type(value)(carried(v, memory) for v in value)
    if isinstance(value, dict):
        return {k: carried(v, memory) for k, v in value.items()}
    return value


def _tensor(t: torch.Tensor, memory: dict[int, Any]) -> Any:
    if t.layout is not torch.strided or t.device.type != "cpu" or t.ndim > 64:
        raise Foreign(t.layout, t.device, t.ndim)
    flat = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage())
    whole = memory.get(flat.data_ptr())
    if whole is None:
        whole = gradwire.tensor(np.array(flat.detach().numpy()))
        memory[flat.data_ptr()] = whole
    if tuple(t.shape) == tuple(whole.shape):
        return whole
    return whole.as_strided(tuple(t.shape), t.stride(), t.storage_offset())


def named(path: str) -> Callable[..., Any] | None:
    """What gradwire has under a dotted name."""
    found: Any = gradwire
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def forms(op: Any) -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any] | None]]:
    """How an operator is called: the form's name, torch's function and ours."""
    last = op.name.rpartition(".")[2]
    filler = getattr(gradwire.Tensor, f"{last}_", None)  # random numbers have no other form
    ours = REORDERED.get(op.name) or named(op.name) or getattr(gradwire.Tensor, last, None) or filler
    yield "function", op, filler if op.variant_test_name == "in_place" else ours
    if op.method_variant:
        yield "method", op.method_variant, getattr(gradwire.Tensor, last, None)
    if op.inplace_variant:
        yield "in place", op.inplace_variant, filler or named(f"{op.name}_")


def outcome(f: Callable[[], Any]) -> BaseException | None:
    """What a call raises, or reading its results."""
    try:
        _read(f())
    except Exception as e:
        return e
    return None


def _read(made: Any) -> None:
    if isinstance(made, gradwire.Tensor):
        made.detach().numpy()
    elif isinstance(made, (list, tuple)):
        for m in made:
            _read(m)


def shown(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    return repr(value)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ops", default="", help="regular expression on the operator's name")
    p.add_argument("--need", type=float, default=0.0, help="fraction that must agree")
    p.add_argument("-v", action="store_true")
    o = p.parse_args()
    warnings.simplefilter("ignore")
    right: collections.Counter[str] = collections.Counter()
    total: collections.Counter[str] = collections.Counter()
    foreign = 0
    for op in op_db:
        if not op.error_inputs_func or LEFT_OUT.search(op.name) or not re.search(o.ops, op.name):
            continue
        for case in op.error_inputs("cpu"):
            s = case.sample_input
            for form, theirs, ours in forms(op):
                try:
                    first, args, kwargs = carried((s.input, tuple(s.args), s.kwargs), {})
                except (Foreign, RuntimeError):  # the latter: an earlier form left `out` too large for its memory
                    foreign += 1
                    continue
                given = s.input.clone() if form == "in place" and isinstance(s.input, torch.Tensor) else s.input
                want = outcome(lambda: theirs(given, *s.args, **s.kwargs))  # noqa: B023 - called at once
                if not isinstance(want, case.error_type) or not re.search(case.error_regex, str(want)):
                    continue
                have = NotImplemented if ours is None else outcome(lambda: ours(first, *args, **kwargs))  # noqa: B023
                total[form] += 1
                if isinstance(have, case.error_type) and re.search(case.error_regex, str(have)):
                    right[form] += 1
                elif o.v:
                    print(f"{op.name} ({form}) {shown((s.input, *s.args))} {', '.join(s.kwargs)}")
                    print(f"    torch    {type(want).__name__}: {str(want)[:160]!r}")
                    print(f"    gradwire {type(have).__name__}: {str(have)[:160]!r}")
    fraction = right.total() / max(total.total(), 1)
    agree = f"{right.total()}/{total.total()} agree ({fraction:.3f})"
    each = ", ".join(f"{form} {right[form]}/{n}" for form, n in total.items())
    print(f"error inputs: {agree}: {each}; {foreign} have no counterpart")
    sys.exit(fraction < o.need)


if __name__ == "__main__":
    main()
