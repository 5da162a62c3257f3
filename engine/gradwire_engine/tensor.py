"""Tensors as the server holds them: an array, the storage it shares with its views, and its place in the graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradwire_proto.catalog.declare import Op
from gradwire_proto.spec import Spec

if TYPE_CHECKING:
    from gradwire_engine.engine import Engine
    from gradwire_engine.graph import AccumulateGrad, Node


class Meter:
    """Counts the bytes that storages hold against a limit."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int):
        self.limit = limit
        self.used = 0

    def check(self, nbytes: int) -> None:
        """Raises:
        MemoryError: with torch's text, where ``nbytes`` more would pass the limit.
        """
        if self.used + nbytes > self.limit:
            raise MemoryError(
                f"gradwire out of memory. Tried to allocate {human(nbytes)}. The session has a limit of "
                f"{human(self.limit)}, of which {human(self.used)} is in use."
            )


def human(nbytes: float) -> str:
    """A number of bytes as torch's out-of-memory errors write it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.2f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} TiB"


class Storage:
    """What a tensor and its views have in common: memory, and the number of times it was written to."""

    __slots__ = ("__weakref__", "meter", "nbytes", "version")

    def __init__(self, meter: Meter, nbytes: int):
        meter.used += nbytes
        self.meter = meter
        self.nbytes = nbytes
        self.version = 0

    def __del__(self) -> None:
        self.meter.used -= self.nbytes


class Tensor:
    """A tensor of a session. Attributes are torch's where the names are."""

    __array_ufunc__ = None  # an array on the left of an operator leaves it to us
    __slots__ = (
        "__weakref__",
        "accumulator",
        "array",
        "base",
        "chain",
        "creation",
        "detached",
        "engine",
        "generation",
        "grad",
        "grad_fn",
        "hooks",
        "output_nr",
        "post_hooks",
        "requires_grad",
        "spec",
        "storage",
    )

    def __init__(
        self,
        engine: Engine,
        array: Any,
        spec: Spec,
        storage: Storage | None = None,
        requires_grad: bool = False,
        grad_fn: Node | None = None,
        output_nr: int = 0,
    ):
        self.engine = engine
        self.array = array
        self.spec = spec
        self.storage = Storage(engine.meter, spec.nbytes) if storage is None else storage
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.grad_fn = grad_fn
        self.output_nr = output_nr
        self.base: Tensor | None = None
        """For a view, the tensor at the bottom of the chain of views."""
        self.chain: tuple[tuple[Op, tuple[Any, ...], int], ...] = ()
        """For a view, how it is made from the base: ops, their values, and which result."""
        self.creation = ""
        """Why a view may not be written to: made by an op with many views ("multi") or without grad ("no_grad")."""
        self.generation = 0
        """For a base, how often its history was rewritten by in-place ops; for a view, when it last looked."""
        self.accumulator: weakref.ref[AccumulateGrad] | None = None
        self.hooks: dict[int, Callable[[Tensor | None], Tensor | None]] | None = None
        self.post_hooks: dict[int, Callable[[Tensor | None], Tensor | None]] | None = None
        self.detached = False

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def ndim(self) -> int:
        return self.spec.ndim

    @property
    def dtype(self) -> Any:
        return self.spec.dtype

    def alias(self, forget: bool = False) -> Tensor:
        """Another tensor with the same memory and the same history, which in-place ops on this one leave alone; with
        ``forget``, without history."""
        t = Tensor(self.engine, self.array, self.spec, self.storage)
        if not forget:
            t.requires_grad, t.grad_fn, t.output_nr = self.requires_grad, self.grad_fn, self.output_nr
        t.base, t.chain, t.creation, t.generation = self.base, self.chain, self.creation, self.generation
        return t

    # Operators, so that derivatives read as calculus on arrays and tensors alike.
    def __add__(self, other: Any) -> Tensor:
        return self.engine.call("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return self.engine.call("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self.engine.call("rsub", self, other)

    def __mul__(self, other: Any) -> Tensor:
        return self.engine.call("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return self.engine.call("div", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self.engine.call("mul", self.engine.call("reciprocal", self), other)

    def __pow__(self, other: Any) -> Tensor:
        return self.engine.call("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return self.engine.call("pow", other, self)

    def __neg__(self) -> Tensor:
        return self.engine.call("neg", self)

    def __matmul__(self, other: Any) -> Tensor:
        return self.engine.call("matmul", self, other)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.engine.call("eq", self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.engine.call("ne", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return self.engine.call("lt", self, other)

    def __le__(self, other: Any) -> Tensor:
        return self.engine.call("le", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return self.engine.call("gt", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return self.engine.call("ge", self, other)

    def __and__(self, other: Any) -> Tensor:
        return self.engine.call("bitwise_and", self, other)

    def __or__(self, other: Any) -> Tensor:
        return self.engine.call("bitwise_or", self, other)

    def __invert__(self) -> Tensor:
        return self.engine.call("bitwise_not", self)

    __hash__ = object.__hash__
