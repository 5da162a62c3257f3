"""torch.save and torch.load of tensors and plain containers, without pickle.

A file is one of safetensors': eight bytes say how long the header is, the header is JSON and tells each tensor's type,
shape and where its bytes are, and the bytes follow. Programs that read such files find the tensors under names made of
the keys that lead to them, and complex numbers as pairs of real ones. How all was nested is JSON, too: the text under
``gradwire`` in the header's ``__metadata__``. Containers other than lists, and values that JSON has none of, are
objects there whose first key says what they are.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from gradwire import session as sessions
from gradwire.capture import forbid
from gradwire.dispatch import check_device, ops
from gradwire.nn.parameter import Parameter
from gradwire.session import Session
from gradwire.tensor import Tensor, tensor_of
from gradwire.types import Size
from gradwire.types import device as Device
from gradwire_proto.dtypes import BY_NAME, DType
from gradwire_proto.spec import spec

CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "float16": "F16",
    "bfloat16": "BF16", "float32": "F32", "float64": "F64", "complex64": "F32", "complex128": "F64",
}  # fmt: skip
"""safetensors' names of types; complex numbers are pairs along a last dimension."""
NAMES = {code: name for name, code in CODES.items() if not name.startswith("complex")} | {"C64": "complex64"}
MOST_HEADER = 100_000_000
"""Bytes of a header: what safetensors allows."""
CHUNK = 1 << 26
"""Bytes to read at a time, since a header may say anything."""
SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "Size": Size}
MAPPINGS: dict[str, Any] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
KEY, METADATA = "gradwire", "__metadata__"


def save(obj: Any, f: Any) -> None:
    """Write tensors, and what plain containers hold, to a file that :func:`load` reads, and any reader of safetensors.

    That is: tensors and parameters, state dicts of modules and optimizers, lists, tuples, dicts and sets of them, with
    numbers, strings, bytes, None, types and devices in between. Tensors that are the same memory, shape and type stay
    so; other views of common memory don't.

    Args:
        obj: what to save.
        f: a path, or a file open for writing bytes.

    Raises:
        TypeError: there is something else in it, which is named.
        RuntimeError: there is no such folder.

    >>> import gradwire as torch, io
    >>> file = io.BytesIO()
    >>> torch.save({"w": torch.ones(2), "step": 3}, file)
    >>> _ = file.seek(0)
    >>> torch.load(file)
    {'w': tensor([1., 1.]), 'step': 3}
    """
    found = _Found()
    shape = found.encode(obj, ())
    header: dict[str, Any] = {METADATA: {KEY: json.dumps(shape, separators=(",", ":"))}}
    # The widest types first, so that each tensor begins where its type may.
    ordered = sorted(found.tensors.items(), key=lambda named: -named[1].dtype.to_real().itemsize)
    at = 0
    for name, t in ordered:
        pair = [2] if t.is_complex() else []
        header[name] = {"dtype": CODES[t.dtype.name], "shape": [*t.shape, *pair], "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with _opened(f, "wb", "write") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, t in ordered:
            file.write(np.ascontiguousarray(t._values()).reshape(-1).view(np.uint8).data)


def load(f: Any, map_location: Any = None, *, weights_only: bool | None = None, mmap: bool | None = None) -> Any:
    """What :func:`save` wrote, with its tensors in the current session; of other safetensors files, a dict of tensors.

    Args:
        f: a path, or a file open for reading bytes, from where it is.
        map_location: where tensors are to live, which can only be the session's device.
        weights_only, mmap: torch's; they change nothing, since nothing in a file is ever run.

    Raises:
        RuntimeError: it is no such file, or spoilt, or ``map_location`` is another device.
    """
    forbid("loads a file", "load it outside")
    session = sessions.current()
    locations = map_location.values() if isinstance(map_location, dict) else [map_location]
    for location in locations:
        if location is not None and not callable(location):
            check_device(Device(location), session)
    with _opened(f, "rb", "read") as file:
        header = _header(file)
        metadata = header.pop(METADATA, None) or {}
        arrays = dict(_arrays(file, header))
    try:
        if KEY not in metadata:
            return {name: _put(session, array) for name, array in arrays.items()}
        return _Decoder(session, arrays).decode(json.loads(metadata[KEY]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise RuntimeError(f"the file does not say in gradwire's way how its tensors belong together: {e!r}") from None


class _Found:
    """Collects tensors, and tells how they are nested."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        """By their names in the file."""
        self._names: dict[Any, str] = {}
        """By memory, place in it, and spec."""
        self._objects: dict[int, tuple[int, Tensor]] = {}
        """Each tensor once, numbered."""

    def encode(self, v: Any, path: tuple[Any, ...]) -> Any:
        kind = type(v)
        if v is None or kind in (bool, int, str):
            return v
        if kind is float:
            return v if math.isfinite(v) else {"float": repr(v)}
        if kind is complex:
            return {"complex": [self.encode(part, path) for part in (v.real, v.imag)]}
        if kind is bytes:
            return {"bytes": base64.b64encode(v).decode()}
        if kind is DType:
            return {"dtype": v.name}
        if kind is Device:
            return {"device": str(v)}
        if isinstance(v, Tensor):
            return self._tensor(v, path)
        if kind is list:
            return [self.encode(x, (*path, i)) for i, x in enumerate(v)]
        name = kind.__name__
        if SEQUENCES.get(name) is kind:
            return {name: [self.encode(x, (*path, i)) for i, x in enumerate(v)]}
        if MAPPINGS.get(name) is kind:
            made = {name: [[self.encode(k, path), self.encode(x, (*path, k))] for k, x in v.items()]}
            if hasattr(v, "_metadata"):  # of a module's state dict
                made["metadata"] = self.encode(v._metadata, path)
            return made
        where = f" at {'.'.join(map(str, path))}" if path else ""
        raise TypeError(
            f"save() takes tensors and plain containers, not a {name}{where}: save what it is made of, as a module's "
            "state_dict()"
        )

    def _tensor(self, t: Tensor, path: tuple[Any, ...]) -> Any:
        same = id(t._storage), t._offset, t._spec
        name = self._names.get(same)
        if name is None:
            name = ".".join(map(str, path)) or "tensor"
            while name in self.tensors or name == METADATA:
                name += "_"
            self.tensors[name], self._names[same] = t, name
        number, _ = self._objects.setdefault(id(t), (len(self._objects), t))
        made: dict[str, Any] = {"tensor": name, "object": number}
        if t.is_complex():
            made["complex"] = True
        if isinstance(t, Parameter):
            made["parameter"] = True
        if t.requires_grad:
            made["requires_grad"] = True
        return made


class _Decoder:
    """Puts together what :class:`_Found` took apart."""

    def __init__(self, session: Session, arrays: dict[str, np.ndarray[Any, Any]]):
        self._session, self._arrays = session, arrays
        self._memory: dict[str, Tensor] = {}
        self._objects: dict[int, Tensor] = {}

    def decode(self, v: Any) -> Any:
        if isinstance(v, list):
            return [self.decode(x) for x in v]
        if not isinstance(v, dict):
            return v
        kind, inner = next(iter(v.items()), ("", None))
        if kind == "tensor":
            made = self._objects.get(v["object"])
            if made is None:
                made = self._objects[v["object"]] = self._tensor(inner, v)
            return made
        if kind in SEQUENCES:
            return SEQUENCES[kind](self.decode(x) for x in inner)
        if kind in MAPPINGS:
            made = MAPPINGS[kind]()
            made.update({self.decode(k): self.decode(x) for k, x in inner})
            if "metadata" in v:
                made._metadata = self.decode(v["metadata"])
            return made
        return VALUES[kind](self.decode(inner))

    def _tensor(self, name: str, told: dict[str, Any]) -> Tensor:
        if name in self._memory:
            made = ops.detach(self._memory[name])
        else:
            array = self._arrays.pop(name)
            if "complex" in told:
                array = array.view(f"c{2 * array.itemsize}")[..., 0]
            made = self._memory[name] = _put(self._session, array)
        if "parameter" in told:
            return Parameter(made, "requires_grad" in told)
        return made.requires_grad_("requires_grad" in told)


VALUES: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "complex": lambda parts: complex(*parts),
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "dtype": BY_NAME.__getitem__,
    "device": Device,
}
"""How values are made that JSON has none of."""


def _put(session: Session, array: np.ndarray[Any, Any]) -> Tensor:
    s = spec(array.shape, BY_NAME[array.dtype.name])
    return tensor_of(session, session.put(array, s, False), s)


def _header(file: Any) -> dict[str, Any]:
    """The header of a file; what it says is not checked yet."""
    start = _read(file, 8)
    length = int.from_bytes(start, "little")
    if len(start) == 8 and 2 <= length <= MOST_HEADER:
        try:
            header = json.loads(_exactly(file, length))
        except (ValueError, RecursionError):
            header = None
        if isinstance(header, dict):
            return header
    if start[:2] in (b"PK", b"\x80\x02"):
        why = "it holds pickled objects, as PyTorch writes them, and these are never read"
    else:
        why = "it has no header of safetensors'"
    raise RuntimeError(f"this is no file that gradwire.save wrote: {why if start else 'it is empty'}")


def _arrays(file: Any, header: dict[str, Any]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The tensors of a file, in the order that they are there."""
    at = 0
    for name, told in sorted(header.items(), key=lambda item: _offsets(*item)):
        begin, end = _offsets(name, told)
        kind, shape = NAMES.get(told.get("dtype")), told.get("shape")
        if kind is None:
            raise RuntimeError(f"tensor {name!r} is of type {told.get('dtype')!r}, which gradwire has none of")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise RuntimeError(f"tensor {name!r} has the shape {shape!r}")
        dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
        if begin != at or end - begin != math.prod(shape) * dtype.itemsize:
            raise RuntimeError(f"tensor {name!r}, {kind} of shape {shape}, can't be bytes {begin} to {end} here")
        at = end
        yield name, np.frombuffer(_exactly(file, end - begin), dtype).reshape(shape)


def _offsets(name: str, told: Any) -> tuple[int, int]:
    offsets = told.get("data_offsets") if isinstance(told, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
        raise RuntimeError(f"the header does not say where tensor {name!r} is")
    return offsets[0], offsets[1]


def _read(file: Any, n: int) -> bytearray:
    """So many bytes of a file, or as many as there are."""
    made = bytearray()
    while len(made) < n and (part := file.read(min(n - len(made), CHUNK))):
        made += part
    return made


def _exactly(file: Any, n: int) -> bytearray:
    made = _read(file, n)
    if len(made) < n:
        raise RuntimeError(f"the file ends {n - len(made)} bytes too early")
    return made


@contextlib.contextmanager
def _opened(f: Any, mode: str, wanted: str) -> Iterator[Any]:
    """A file of one's own at a path, or the one given."""
    if not isinstance(f, (str, os.PathLike)):
        if not hasattr(f, wanted):
            raise AttributeError(f"expected 'f' to be string, path, or a file-like object with a '{wanted}' attribute")
        yield f
        return
    if wanted == "write" and not os.path.isdir(os.path.dirname(os.fspath(f)) or "."):
        raise RuntimeError(f"Parent directory {os.path.dirname(os.fspath(f))} does not exist.")
    with open(f, mode) as file:
        yield file


__all__ = ["load", "save"]
