"""Sequences of different lengths: packed step by step for recurrent layers, or padded to one length."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gradwire.dispatch import ops
from gradwire.functions.construct import tensor
from gradwire.functions.shape import reshape
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences, longest first, as all their first steps, all their second steps, and so on.

    Made by :func:`pack_padded_sequence` and :func:`pack_sequence`.

    Args:
        data: the steps, of shape (sum of lengths, *).
        batch_sizes: int64; how many sequences have a first, a second, ... step.
        sorted_indices: which sequence stands where; None if they were sorted.
        unsorted_indices: where each sequence stands.
    """

    def __new__(cls, data: Any, batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
                unsorted_indices: Tensor | None = None) -> PackedSequence:  # fmt: skip
        if batch_sizes is None:
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    @functools.cached_property
    def sizes(self) -> list[int]:
        """The values of ``batch_sizes``: known where a function packed the sequences, else read once."""
        made: list[int] = self.batch_sizes.tolist()  # type: ignore[attr-defined]
        return made

    def like(self, data: Tensor) -> PackedSequence:
        """The same sequences with other data."""
        made = PackedSequence(data, *self[1:])
        if "sizes" in self.__dict__:
            made.__dict__["sizes"] = self.sizes
        return made

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With data of another dtype; see ``Tensor.to``."""
        made = self.data.to(*args, **kwargs)  # type: ignore[attr-defined]
        return self if made is self.data else self.like(made)

    def cpu(self) -> PackedSequence:
        return self.to("cpu")

    @property
    def is_cuda(self) -> bool:
        return self.data.device.type == "cuda"


def _cast(name: str, dtype: Any) -> Any:
    def cast(self: PackedSequence) -> PackedSequence:
        return self.to(dtype)

    cast.__name__, cast.__doc__ = name, f"With data of type {dtype.name}."
    return cast


for _name, _dtype in (("double", dtypes.float64), ("float", dtypes.float32), ("half", dtypes.float16),
                      ("long", dtypes.int64), ("int", dtypes.int32), ("short", dtypes.int16), ("char", dtypes.int8),
                      ("byte", dtypes.uint8)):  # fmt: skip
    setattr(PackedSequence, _name, _cast(_name, _dtype))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Where a permutation puts each index: its order when sorted."""
    return None if permutation is None else permutation.argsort()  # type: ignore[attr-defined, no-any-return]


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:  # fmt: skip
    """Pack padded sequences.

    Args:
        input: of shape (steps, batch, *), or (batch, steps, *) where ``batch_first``.
        lengths: of each sequence: a list, or an int64 tensor, whose values are read.
        batch_first: see ``input``.
        enforce_sorted: require that no sequence is longer than the one before, instead of sorting them.

    Raises:
        RuntimeError: lengths not of the batch, not positive, longer than the steps, or not sorted.
    """
    if isinstance(lengths, Tensor):
        if lengths.ndim != 1:
            raise RuntimeError(
                f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.ndim}D cpu Long tensor"
            )
        lengths = lengths.tolist()  # type: ignore[attr-defined]
    lengths = [int(n) for n in lengths]
    steps, batch = input.shape[:2][::-1] if batch_first else input.shape[:2]
    if len(lengths) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} (batch_size={batch})"
        )
    order = list(range(batch)) if enforce_sorted else sorted(range(batch), key=lambda i: -lengths[i])
    if any(n <= 0 for n in lengths):
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(lengths[a] < lengths[b] for a, b in itertools.pairwise(order)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    longest = lengths[order[0]]
    if longest > steps:
        raise RuntimeError(f"Expected lengths of at most {steps}, the steps of the input, but got {longest}")
    sizes = [sum(n > t for n in lengths) for t in range(longest)]
    at = [i * steps + t if batch_first else t * batch + i for t, n in enumerate(sizes) for i in order[:n]]
    data = ops.index_select(reshape(input, (steps * batch, *input.shape[2:])), 0, tensor(at))
    if enforce_sorted:
        made = PackedSequence(data, tensor(sizes))
    else:
        where = sorted(range(batch), key=order.__getitem__)
        made = PackedSequence(data, tensor(sizes), tensor(order), tensor(where))
    made.__dict__["sizes"] = sizes
    return made


def _lengths(sizes: Sequence[int]) -> list[int]:
    """How many steps each sequence has, longest first."""
    return [sum(n > i for n in sizes) for i in range(sizes[0])]


def _padded(rows: Tensor, at: list[list[int]], padding_value: float) -> Tensor:
    """A table of rows, by their numbers; what the number after the last names is padding."""
    padding = ops.full((1, *rows.shape[1:]), padding_value, dtype=rows.dtype)
    flat = tensor(list(itertools.chain.from_iterable(at)), dtype=dtypes.int64)
    made = ops.index_select(ops.cat([rows, padding], 0), 0, flat)
    return reshape(made, (len(at), len(at[0]) if at else 0, *rows.shape[1:]))


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The inverse of :func:`pack_padded_sequence`: padded sequences in their order, and their lengths (int64).

    Args:
        sequence: packed.
        batch_first: give (batch, steps, *) instead of (steps, batch, *).
        padding_value: what follows a sequence.
        total_length: steps to pad to; those of the longest sequence by default.

    Raises:
        ValueError: ``total_length`` is less than the length of the longest sequence.
    """
    sizes = sequence.sizes
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    starts = [0, *itertools.accumulate(sizes)]
    lengths = _lengths(sizes)
    at = [[starts[t] + i if t < n else starts[-1] for t in range(steps)] for i, n in enumerate(lengths)]
    if not batch_first:
        at = [list(row) for row in zip(*at, strict=True)]
    made, counts = _padded(sequence.data, at, padding_value), tensor(lengths)
    where = sequence.unsorted_indices
    if where is not None:
        made, counts = ops.index_select(made, 0 if batch_first else 1, where), ops.index_select(counts, 0, where)
    return made, counts


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:  # fmt: skip
    """Sequences, each of shape (steps, *), padded to the longest: (steps, batch, *).

    Args:
        sequences: tensors with the same sizes but for the first.
        batch_first: give (batch, steps, *).
        padding_value: what is put beside a sequence.
        padding_side: "right" or "left".

    Raises:
        RuntimeError: no sequences, or no such side.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    sequences = tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    lengths = [s.shape[0] for s in sequences]
    starts = [0, *itertools.accumulate(lengths)]
    steps = max(lengths)
    at = []
    for start, n in zip(starts, lengths, strict=False):
        padding, own = [starts[-1]] * (steps - n), list(range(start, start + n))
        at.append(own + padding if padding_side == "right" else padding + own)
    if not batch_first:
        at = [list(row) for row in zip(*at, strict=True)]
    return _padded(ops.cat(list(sequences), 0), at, padding_value)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """Padded sequences without their padding.

    Args:
        padded_sequences: of shape (steps, batch, *), or (batch, steps, *) where ``batch_first``.
        lengths: of each sequence: a list, or an int64 tensor, whose values are read.
        batch_first: see ``padded_sequences``.
    """
    counts: list[int] = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)  # type: ignore[attr-defined]
    rows = ops.unbind(padded_sequences, 0 if batch_first else 1)
    return [row[:n] for row, n in zip(rows, counts, strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences, each of shape (steps, *); longest first unless ``enforce_sorted`` is False."""
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of :func:`pack_sequence`."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    known = packed_sequences.unsorted_indices is None
    return unpad_sequence(padded, _lengths(packed_sequences.sizes) if known else lengths, batch_first=True)


__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]
