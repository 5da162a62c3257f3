"""What is known here of tensors' memory: where views begin, what overlaps, and tensors that become others in place."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradwire.capture import here
from gradwire.tensor import Tensor
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.catalog.shape import slice_range, split_sizes

if TYPE_CHECKING:
    from gradwire_proto.spec import Spec


def _selected(s: Spec, dim: int, index: int) -> list[int]:
    dim = wrap_dim(dim, s.ndim)
    return [s.strides[dim] * (index % s.shape[dim])]


def _sliced(s: Spec, dim: int, start: int | None, end: int | None, step: int) -> list[int]:
    dim = wrap_dim(dim, s.ndim)
    return [s.strides[dim] * slice_range(s.shape[dim], start, end)[0]]


def _diagonal(s: Spec, offset: int, dim1: int, dim2: int) -> list[int]:
    a, b = wrap_dim(dim1, s.ndim), wrap_dim(dim2, s.ndim)
    room = s.shape[b] if offset >= 0 else s.shape[a]
    return [0 if abs(offset) >= room else offset * s.strides[b] if offset >= 0 else -offset * s.strides[a]]


def _pieces(s: Spec, sizes: Sequence[int], dim: int) -> list[int]:
    step = s.strides[wrap_dim(dim, s.ndim)]
    return [step * at for at in itertools.accumulate(sizes[:-1], initial=0)]


STARTS: dict[str, Callable[..., list[int]]] = {
    "imag": lambda s: [1],
    "select": _selected,
    "slice": _sliced,
    "diagonal": _diagonal,
    "unbind": lambda s, dim: [s.strides[wrap_dim(dim, s.ndim)] * i for i in range(s.shape[wrap_dim(dim, s.ndim)])],
    "split": lambda s, size, dim: _pieces(s, split_sizes(s.shape[wrap_dim(dim, s.ndim)], size), dim),
    "split_with_sizes": _pieces,
    "as_strided": lambda s, size, stride, storage_offset: [storage_offset],
}
"""For the views that begin elsewhere than their source: where each does, in elements of its own type from there."""


def starts(name: str, source: Spec, values: Sequence[Any], results: Sequence[Spec]) -> list[int]:
    """Where the results of a view op begin, in bytes from where the source does."""
    made = STARTS.get(name)
    if made is None:
        return [0] * len(results)
    return [n * s.dtype.itemsize for n, s in zip(made(source, *values[1:]), results, strict=True)]


def overlap(a: Tensor, b: Tensor) -> str:
    """Whether two tensors share all their memory ("all"), a part ("part"), or none (""); elements of tensors that
    aren't dense may lie between each other's, which isn't looked into."""
    if a._storage is not b._storage or not a.numel() or not b.numel():
        return ""
    if a._offset == b._offset and (a._spec.shape, a._spec.strides) == (b._spec.shape, b._spec.strides):
        return "all"
    n, m = a._spec.reach, b._spec.reach
    if n != a.numel() or m != b.numel():
        return ""
    return "part" if a._offset < b._offset + m * b.itemsize and b._offset < a._offset + n * a.itemsize else ""


_SLOTS = [s for s in Tensor.__slots__ if not s.startswith("__")]


def become(t: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    """Make ``t`` what ``make`` makes of it: a view of it, or something else. Other tensors keep what they are; views
    of ``t`` stay views of what it was.

    Raises:
        RuntimeError: a function is being captured, and ``t`` is from outside.
    """
    if t._is_batched:
        return t.become(make(t))  # type: ignore[attr-defined, no-any-return]
    if here.capture is not None and t._id not in here.capture.inner:
        here.capture.forbid("gives a tensor from outside another shape in place", "do so outside")
    if t._storage.inference:
        from gradwire.dispatch import check_inference

        check_inference(t)
    was = moved(t, object.__new__(Tensor))
    try:
        made = make(was)
    except BaseException:
        moved(was, t)
        raise
    if made is was:
        moved(was, t)
    else:
        moved(made, t)
        if t._grad_flag and t._leaf:
            t._session.leaves[t._id] = t
    return t


def moved(t: Tensor, into: Tensor) -> Tensor:
    """``into``, which is now all that ``t`` was; ``t`` is nothing, and tells the server nothing when it goes."""
    for s in _SLOTS:
        if hasattr(t, s):
            setattr(into, s, getattr(t, s))
        elif hasattr(into, s):
            delattr(into, s)
    del t._session
    return into
