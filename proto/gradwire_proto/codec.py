"""Python values to and from the messages of an instruction: what client and server must agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradwire_proto.catalog.declare import Op
from gradwire_proto.dtypes import BY_NUMBER, DType
from gradwire_proto.v1 import gradwire_pb2 as pb


def encode_argument(a: pb.Argument, v: Any, id_of: Callable[[Any], int]) -> None:
    """Write one plain value into an argument; anything that is no number, string, dtype or tuple is a tensor."""
    kind = type(v)
    if kind is int:
        a.int_value = v
    elif kind is float:
        a.float_value = v
    elif kind is bool:
        a.bool_value = v
    elif v is None:
        a.none.SetInParent()
    elif kind is tuple:
        _encode_list(a, v, id_of)
    elif kind is str:
        a.string_value = v
    elif kind is DType:
        a.dtype = v.number
    elif kind is complex:
        a.complex_value.real, a.complex_value.imag = v.real, v.imag
    else:
        a.tensor = id_of(v)


def _encode_list(a: pb.Argument, v: tuple[Any, ...], id_of: Callable[[Any], int]) -> None:
    if all(type(x) is int for x in v):
        a.ints.SetInParent()
        a.ints.values.extend(v)
    elif all(type(x) is float or type(x) is int for x in v):
        a.floats.values.extend(v)
    else:
        a.tensors.ids.extend([0 if x is None else id_of(x) for x in v])


def encode_arguments(arguments: Any, op: Op, values: Sequence[Any], id_of: Callable[[Any], int]) -> None:
    """Write an op's values in signature order, keyword-only ones by name, leaving out defaults where that is clear."""
    params = op.params
    n = len(values)
    while n and values[n - 1] is params[n - 1].default:
        n -= 1
    for p, v in zip(params[:n], values, strict=False):
        if not p.keyword_only:
            encode_argument(arguments.add(), v, id_of)
        elif v is not p.default:
            encode_argument(arguments.add(name=p.name), v, id_of)


def decode_arguments(
    arguments: Iterable[pb.Argument], tensor: Callable[[int], Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword values, with tensors looked up by id."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for a in arguments:
        id_ = a.tensor
        v = tensor(id_) if id_ else _decode(a, tensor)
        if a.name:
            kwargs[a.name] = v
        else:
            args.append(v)
    return args, kwargs


def _decode(a: pb.Argument, tensor: Callable[[int], Any]) -> Any:
    kind = a.WhichOneof("kind")
    if kind == "int_value":
        return a.int_value
    if kind == "float_value":
        return a.float_value
    if kind == "bool_value":
        return a.bool_value
    if kind == "ints":
        return tuple(a.ints.values)
    if kind == "tensors":
        return tuple([tensor(i) if i else None for i in a.tensors.ids])
    if kind == "dtype":
        return dtype_of(a.dtype)
    if kind == "string_value":
        return a.string_value
    if kind == "floats":
        return tuple(a.floats.values)
    if kind == "complex_value":
        return complex(a.complex_value.real, a.complex_value.imag)
    if kind == "tensor":
        raise ValueError("0 is no tensor id")
    return None


def dtype_of(number: int) -> DType:
    """The element type of a wire number.

    Raises:
        ValueError: there is none.
    """
    found = BY_NUMBER.get(number)
    if found is None:
        raise ValueError(f"unknown dtype number {number}")
    return found
