"""Interpolation of the last one to three dimensions: each a linear map along single axes, with its adjoint."""

from __future__ import annotations

from collections.abc import Sequence

from gradwire_proto.catalog.declare import Meta, Op
from gradwire_proto.catalog.pool import linear_pair
from gradwire_proto.dtypes import Category, uint8
from gradwire_proto.spec import Spec, spec

MODES: dict[str, tuple[int, ...]] = {
    "nearest": (1, 2, 3),
    "nearest_exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "trilinear": (3,),
    "bicubic": (2,),
    "bilinear_aa": (2,),
    "bicubic_aa": (2,),
    "lanczos_aa": (2,),
}
"""How many dimensions each way of interpolating is made for; ``aa`` widens it for what it shrinks."""
_SIDES = ("D", "H", "W")


def _upsample(n: int) -> Meta:
    def rule(op: Op, input: Spec, output_size: Sequence[int], *_: object) -> Spec:
        if len(output_size) != n:
            raise RuntimeError(f"It is expected output_size equals to {n}, but got size {len(output_size)}")
        if input.ndim != n + 2:
            raise RuntimeError(f"It is expected input_size equals to {n + 2}, but got size {input.ndim}")
        if min(*input.shape[2:], *output_size) <= 0:
            given, made = (
                ", ".join(f"{side}: {v}" for side, v in zip(_SIDES[-n:], sizes, strict=True))
                for sizes in (input.shape[2:], output_size)
            )
            raise RuntimeError(
                f"Input and output sizes should be greater than 0, but got input ({given}) and output ({made})"
            )
        if input.shape[1] == 0:
            raise RuntimeError(
                f"Non-empty {n + 2}D data tensor expected but got a tensor with sizes {list(input.shape)}"
            )
        whole = input.dtype is uint8 and op.name.startswith("upsample_nearest")
        if input.dtype.category is not Category.FLOAT and not whole:
            name = op.name.removesuffix("_backward")
            raise NotImplementedError(f'"{name}_channels_last" not implemented for \'{input.dtype.legacy}\'')
        return spec((*input.shape[:2], *output_size), input.dtype)

    return rule


for _mode, _dims in MODES.items():
    for _n in _dims:
        _camel = "".join(w.capitalize() for w in _mode.removesuffix("_aa").split("_"))
        linear_pair(f"upsample_{_mode}{_n}d", _n,
                    "int[] output_size, bool align_corners=False, float[] scale_factors=[]", _upsample(_n),
                    f"Upsample{_camel}{_n}D{'Aa' if _mode.endswith('_aa') else ''}Backward0",
                    f"Interpolation to output_size ({_mode.replace('_', ' ')}).")  # fmt: skip
