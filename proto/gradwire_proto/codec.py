"""Python values to and from the messages of an instruction: what client and server must agree on."""

from __future__ import annotations

import struct
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


_VARINTS = [bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(1 << 14)]


def _varint(n: int) -> bytes:
    if n < 1 << 14:
        return _VARINTS[n]
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


_prefixes: dict[str, bytes] = {}
_constants: dict[tuple[Any, ...], bytes] = {}
_MOST_CONSTANTS = 4096


def _constant(v: Any, name: str) -> bytes:
    """A field ``arguments`` of an Apply, for a value without tensors; made once for the values that come often."""
    # Equal is not the same: 1, 1.0 and True, or 0.0 and -0.0, have different bytes.
    key = (v, name, type(v), v == 0 and str(v)) if type(v) is not tuple else (v, name, *map(type, v), str(v))
    found = _constants.get(key)
    if found is None:
        found = _argument(v, name)
        if len(_constants) >= _MOST_CONSTANTS:
            _constants.clear()
        _constants[key] = found
    return found


def _argument(v: Any, name: str) -> bytes:
    a = pb.Argument(name=name)
    encode_argument(a, v, _id_of)
    body = a.SerializeToString()
    return b"\x12" + _varint(len(body)) + body


def encode_apply(op: Op, values: Sequence[Any], ids: Sequence[int], location: int, tensor: type[Any]) -> bytes:
    """A field ``instructions`` of a Frame that holds an Apply, as the bytes of protobuf's wire format.

    Written by hand, a third of the cost of building messages: this is the one that every op of every program pays.
    Tensors, of the class ``tensor``, tell their ids by ``_id``; fixed64 ids make that the same few bytes each time. A
    test holds the result against protobuf's own.
    """
    parts = [_prefixes.get(op.name) or _prefix(op.name)]
    params = op.params
    n = len(values)
    while n and values[n - 1] is params[n - 1].default:
        n -= 1
    for i in range(n):
        v = values[i]
        if type(v) is tensor and not params[i].keyword_only:
            parts.append(b"\x12\x09\x09" + v._id.to_bytes(8, "little"))
            continue
        p = params[i]
        if p.keyword_only and v is p.default:
            continue
        name = p.name if p.keyword_only else ""
        if isinstance(v, tensor) or (type(v) is tuple and any(isinstance(x, tensor) for x in v)):
            parts.append(_argument(v, name))
        else:
            parts.append(_constant(v, name))
    if len(ids) == 1:
        parts.append(b"\x1a\x08" + ids[0].to_bytes(8, "little"))
    elif ids:
        parts.append(b"\x1a" + _varint(8 * len(ids)) + b"".join([i.to_bytes(8, "little") for i in ids]))
    body = b"".join(parts)
    body = b"\x0a" + _varint(len(body)) + body + b"\xf0\x01" + _varint(location)
    return b"\x12" + _varint(len(body)) + body


def encode_template(id: int, op: Op, values: Sequence[Any], results: int, no_grad: bool) -> pb.Template:
    """A template of an op with these arguments, in which any other object stands for a tensor."""
    m = pb.Template(id=id, op=op.name, results=results, no_grad=no_grad)
    for v, p in zip(values, op.params, strict=True):
        if p.keyword_only and v is p.default:
            continue
        a = m.arguments.add(name=p.name if p.keyword_only else "")
        encode_argument(a, v, lambda _: 1)
    return m


def encode_calls(words: Sequence[int]) -> bytes:
    """A field ``instructions`` of a Frame that holds Calls, as the bytes of protobuf's wire format."""
    data = struct.pack(f"<{len(words)}Q", *words)
    body = b"\x0a" + _varint(len(data)) + data
    body = b"\xaa\x01" + _varint(len(body)) + body
    return b"\x12" + _varint(len(body)) + body


def _prefix(name: str) -> bytes:
    made = _prefixes[name] = b"\x0a" + _varint(len(name)) + name.encode()
    return made


def _id_of(t: Any) -> int:
    i: int = t._id
    return i


def frame_field(instruction: pb.Instruction) -> bytes:
    """A field ``instructions`` of a Frame."""
    body = instruction.SerializeToString()
    return b"\x12" + _varint(len(body)) + body


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
