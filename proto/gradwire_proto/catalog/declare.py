"""How an op is declared: once, by torch's signature, a meta rule and a line of doc.

    op("hypot(Tensor input, Tensor other) -> Tensor", meta=pointwise(), doc="Length of the hypotenuse.")

The signature grammar is torch's. Argument kinds: ``Tensor``, ``Tensor?``, ``Tensor[]``, ``Tensor?[]``,
``Tensor|Scalar``, ``Scalar``, ``int``, ``int[]``, ``float``, ``float[]``, ``bool``, ``str``, ``dtype``, each with
``?`` where None is allowed; ``*`` starts the keyword-only ones. ``Tensor(a)`` in an argument and a result says that
the result is a view of it, ``Tensor(a!)`` that the op writes to it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gradwire_proto.dtypes import BY_NAME, OF_PYTHON, DType
from gradwire_proto.spec import Spec

Meta = Callable[..., Any]
MAX_REMEMBERED = 4096
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other",
               "self": "input"}  # fmt: skip
"""NumPy's names of arguments, which torch takes in place of its own; and its own for a number in a tensor's place."""
OWN_NAMES = {"cholesky_inverse": {"input": "L"}, "cholesky_solve": {"input": "B", "self": "B", "input2": "L"}}
"""Names that torch takes where its documentation has others."""
SCALES = ("alpha", "beta", "value")
OLD_ORDERS = {
    "add": ("input alpha other",), "sub": ("input alpha other",),
    **{name: (f"beta input alpha {factors}", f"beta input {factors}", f"input beta alpha {factors}",
              f"input beta {factors}")
       for name, factors in (("addbmm", "batch1 batch2"), ("addmm", "mat1 mat2"), ("addmv", "mat vec"),
                             ("addr", "vec1 vec2"), ("baddbmm", "batch1 batch2"))},
    "addcdiv": ("input value tensor1 tensor2",), "addcmul": ("input value tensor1 tensor2",),
}  # fmt: skip
"""Orders of arguments from before these numbers had to be named."""
POINTWISE: set[Meta] = set()
"""Rules of element-wise ops."""
M = TypeVar("M", bound=Meta)
_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Param:
    """One argument of an op."""

    name: str
    kind: str
    """The kind without ``?``, ``[]`` or alias marks: Tensor, Tensor|Scalar, Scalar, int, float, bool, str, dtype."""
    is_list: bool
    optional: bool
    default: Any
    keyword_only: bool
    writes: bool
    alias: str

    @property
    def is_tensor(self) -> bool:
        return self.kind.startswith("Tensor")

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED

    @property
    def type_name(self) -> str:
        """As torch's errors name what was expected."""
        names = {"Tensor|Scalar": "Tensor or Number", "Scalar": "Number", "dtype": "torch.dtype"}
        name = names.get(self.kind, self.kind)
        return f"tuple of {name}s" if self.is_list else name


@dataclass(frozen=True, slots=True)
class Result:
    """One result of an op."""

    name: str
    is_list: bool
    alias: str


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a meta rule answers: the results' specs, and the type in which an element-wise op computes."""

    results: tuple[Spec, ...]
    compute: DType | None = None
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nbytes", sum(r.nbytes for r in self.results))


_NOTHING: frozenset[type] = frozenset()
_QUICK: dict[str, frozenset[type]] = {
    "Tensor": frozenset({Param}),
    "Tensor|Scalar": frozenset({Param, bool, int, float, complex}),
    "Scalar": frozenset({bool, int, float, complex}),
    "int": frozenset({int}),
    "float": frozenset({float}),
    "bool": frozenset({bool}),
}


@dataclass(slots=True, eq=False)
class Op:
    """A declared op. ``signature`` is what it was declared with."""

    name: str
    signature: str
    params: tuple[Param, ...]
    results: tuple[Result, ...]
    meta: Meta
    doc: str
    differentiable: bool
    node: str
    """Name of the backward node, as torch's: ``AddBackward0``."""
    aliases: tuple[str, ...]
    inplace_of: Op | None
    random: bool
    method: bool
    """Whether torch has it as a method of Tensor."""
    public: bool
    """Whether torch has it under this name; other primitives are what the SDK composes from."""
    remembered: dict[Any, Inferred] = field(default_factory=dict)

    writes: tuple[int, ...] = field(init=False)
    """Indices of the arguments that are written to."""
    view_of: int | None = field(init=False)
    """Index of the argument that the results are views of."""
    returns_list: bool = field(init=False)
    pointwise: bool = field(init=False)
    """Whether each element of the results is made of those in the same place of the arguments, after broadcasting."""
    _defaults: tuple[Any, ...] = field(init=False)
    _quick: tuple[frozenset[type], ...] = field(init=False)
    """For each argument that may be given by position, the types that need no conversion; ``Param`` for a tensor."""
    _least: int = field(init=False)
    """How many arguments have no default."""

    def __post_init__(self) -> None:
        self.writes = tuple(i for i, p in enumerate(self.params) if p.writes)
        alias = self.results[0].alias if self.results and not self.writes else ""
        self.view_of = next(i for i, p in enumerate(self.params) if p.alias == alias) if alias else None
        self.pointwise = self.meta in POINTWISE
        self.returns_list = any(r.is_list for r in self.results)
        self._defaults = tuple(p.default for p in self.params)
        self._quick = tuple(_QUICK.get(p.kind, _NOTHING) for p in self.params if not (p.is_list or p.keyword_only))
        if any(p.is_list for p in self.params[: len(self._quick)]):
            self._quick = ()
        self._least = max((i + 1 for i, p in enumerate(self.params) if p.required), default=0)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], tensor: type, bound: int = 0) -> list[Any]:
        """Arguments in signature order, defaults filled in, kinds checked, lists as tuples, numbers unwrapped.

        ``tensor`` is the caller's tensor class, ``bound`` how many arguments errors don't count: of a method the first.

        Raises:
            TypeError: in torch's words, naming op, argument and position.
        """
        n = len(args)
        if not kwargs and self._least <= n <= len(self._quick):
            for v, types in zip(args, self._quick, strict=False):
                kind = type(v)
                if (Param if kind is tensor else kind) not in types:
                    break
            else:
                return [*args, *self._defaults[n:]]
        params = self.params
        values = list(args)
        if kwargs:
            names = {p.name for p in params}
            own = OWN_NAMES.get(self.name, {})
            kwargs = {own.get(k, k): v for k, v in kwargs.items()}
            kwargs = {k if k in names or NUMPY_NAMES.get(k) not in names else NUMPY_NAMES[k]: v
                      for k, v in kwargs.items()}  # fmt: skip
        if len(values) > len(params) or any(p.keyword_only for p in params[: len(values)]):
            last = next((i for i, p in enumerate(params) if p.keyword_only), len(params))
            folded, old = self._fold_varargs(values, last), self._old_order(values, tensor)
            if old:
                return self.bind((), old | dict(kwargs), tensor)
            if folded is None:
                least, most, given = (n - bound for n in (sum(p.required for p in params[:last]), last, len(values)))
                if bound and not most:
                    raise TypeError(f"TensorBase.{self.name}() takes no arguments ({given} given)")
                takes = f"{most} positional argument{'s' * (most != 1)}"
                raise TypeError(
                    f"{self.name}() takes {takes if least == most else f'from {least} to {takes}'} "
                    f"but {given} {'was' if given == 1 else 'were'} given"
                )
            values = folded
        used = 0
        for i in range(len(values), len(params)):
            p = params[i]
            if p.name in kwargs:
                used += 1
                values.append(kwargs[p.name])
            elif p.default is _REQUIRED:
                raise TypeError(f'{self.name}() missing 1 required positional arguments: "{p.name}"')
            else:
                values.append(p.default)
        if used != len(kwargs):
            known = {p.name for p in params[len(args) :]}
            wrong = next(k for k in kwargs if k not in known)
            if any(p.name == wrong for p in params):
                raise TypeError(f"{self.name}() got multiple values for argument '{wrong}'")
            raise TypeError(f"{self.name}() got an unexpected keyword argument '{wrong}'")
        for i, p in enumerate(params):
            v = values[i]
            if type(v) is tensor and not p.is_list and p.is_tensor:
                continue
            if v is None and (p.optional or p.default is None):
                continue
            ok, values[i] = convert(p, v, tensor)
            if not ok:
                folded = self._fold_varargs(list(args), len(params))
                if folded is not None and folded != list(args):
                    return self.bind(folded, kwargs, tensor, bound)
                raise self._refusal(i, v, tensor, i + 1 - bound if i < len(args) else 0)
        return values

    def _refusal(self, i: int, v: Any, tensor: type, position: int) -> TypeError:
        """torch's error where ``v`` is not what argument ``i`` takes; ``position`` is 0 for one given by name."""
        p = self.params[i]
        if not p.is_list or not isinstance(v, (tuple, list)):
            where = f" (position {position})" if position else ""
            got = type(v).__name__
            return TypeError(f"{self.name}(): argument '{p.name}'{where} must be {p.type_name}, not {got}")
        wrong = ((k, x) for k, x in enumerate(v) if not (x is None and p.optional) and not _one(p.kind, x, tensor)[0]
                 and not (k and isinstance(x, bool)))  # fmt: skip
        at, got = next((k, type(x).__name__) for k, x in wrong)
        if p.kind == "Tensor":
            return TypeError(f"expected Tensor as element {at} in argument {i}, but got {got}")
        return TypeError(
            f"{self.name}(): argument '{p.name}' failed to unpack the object at pos {at + 1} with error "
            f'"type must be {p.type_name},but got {got}"'
        )

    def _old_order(self, values: list[Any], tensor: type) -> dict[str, Any]:
        """Arguments in an order of :data:`OLD_ORDERS`, by name; none where they are in no such order."""
        name = (self.inplace_of or self).name
        for order in OLD_ORDERS.get(name, ()):
            names = order.split()
            if len(names) == len(values) and all(isinstance(v, tensor) is (n not in SCALES)
                                                 for n, v in zip(names, values, strict=True)):  # fmt: skip
                told = ", ".join(f"{'Number' if n in SCALES else 'Tensor'} {n}" for n in names)
                warnings.warn(
                    f"This overload of {self.name} is deprecated:\n\t{self.name}({told})\nConsider using one of the "
                    f"following signatures instead:\n\t{self.signature}",
                    stacklevel=6,
                )
                return dict(zip(names, values, strict=True))
        return {}

    def _fold_varargs(self, values: list[Any], last: int) -> list[Any] | None:
        """``view(2, 3)`` as ``view((2, 3))``, where the last positional argument is a list of ints."""
        for i, p in enumerate(self.params[:last]):
            if p.is_list and p.kind == "int" and len(values) > i and is_index(values[i]) and all(
                is_index(v) or isinstance(v, bool) for v in values[i:]
            ):
                return [*values[:i], tuple(values[i:])]
        return None

    def infer(self, values: Sequence[Any]) -> Inferred:
        """Specs of the results, from values in signature order in which tensors are given as their specs.

        Raises:
            RuntimeError, IndexError, TypeError, ValueError: torch's own, for what can't be.
        """
        try:
            # The types, too: 1, 1.0 and True are equal, but not to type promotion.
            key = (*values, *map(type, values))
            found = self.remembered.get(key)
        except TypeError:
            key, found = None, None
        if found is None:
            out = self.meta(self, *values)
            if isinstance(out, Spec):
                out = Inferred((out,))
            elif not isinstance(out, Inferred):
                out = Inferred(tuple(out))
            found = out
            if key is not None:
                if len(self.remembered) >= MAX_REMEMBERED:
                    self.remembered.clear()
                self.remembered[key] = found
        return found


def is_index(v: Any) -> bool:
    return (type(v) is int) or (hasattr(v, "__index__") and not isinstance(v, bool))


def _is_number(v: Any) -> bool:
    return isinstance(v, (bool, int, float, complex))


def _plain(v: Any) -> Any:
    """NumPy's scalars as Python's numbers, so that what is sent and remembered has one form."""
    return v.item() if hasattr(v, "item") and hasattr(v, "dtype") and not getattr(v, "ndim", 1) else v


def _one(kind: str, v: Any, tensor: type) -> tuple[bool, Any]:
    if kind == "Tensor":
        return isinstance(v, tensor), v
    if kind == "Tensor|Scalar":
        if isinstance(v, tensor):
            return True, v
        v = _plain(v)
        return _is_number(v), v
    if kind == "Scalar":
        if isinstance(v, tensor) and not getattr(v, "ndim", 1):
            v = v.item()  # type: ignore[attr-defined]
        v = _plain(v)
        return _is_number(v), v
    if kind == "int":
        if isinstance(v, bool):
            return False, v
        if isinstance(v, tensor):
            if getattr(v, "ndim", 1) or v.dtype.category > 1:  # type: ignore[attr-defined]
                return False, v
            return True, int(v.item())  # type: ignore[attr-defined]
        return (True, int(v.__index__())) if hasattr(v, "__index__") else (False, v)
    if kind == "float":
        v = _plain(v)
        return isinstance(v, (int, float)), float(v) if isinstance(v, (int, float)) else v
    if kind == "bool":
        v = _plain(v)
        return isinstance(v, bool), v
    if kind == "str":
        return isinstance(v, str), v
    if isinstance(v, type):
        v = OF_PYTHON.get(v, v)
    return isinstance(v, DType), v


def convert(p: Param, v: Any, tensor: type) -> tuple[bool, Any]:
    """Whether ``v`` is of the parameter's kind, and ``v`` in its plain form."""
    if not p.is_list:
        return _one(p.kind, v, tensor)
    if p.kind in ("int", "float") and not isinstance(v, (tuple, list)):
        ok, one = _one(p.kind, v, tensor)
        return ok, (one,)
    if isinstance(v, (str, bytes, dict, tensor)) or not hasattr(v, "__iter__"):
        return False, v
    out: list[Any] = []
    for item in v:
        if item is None and p.kind == "Tensor" and p.optional:
            out.append(None)
            continue
        ok, one = _one(p.kind, item, tensor)
        if not ok and not (out and p.kind == "int" and isinstance(item, bool)):  # torch looks at the first alone
            return False, v
        out.append(one if ok else int(item))
    return True, tuple(out)


CATALOG: dict[str, Op] = {}
"""Every op by name, in-place forms included."""
ALIASES: dict[str, str] = {}
"""Other names that torch has for an op, dotted where they live in a submodule."""

_ARG = re.compile(
    r"(?P<kind>Tensor\|Scalar|Tensor|Scalar|int|float|bool|str|dtype)"
    r"(?:\((?P<alias>\w)(?P<writes>!?)\))?(?P<inner>\?)?(?P<list>\[\])?(?P<outer>\?)?"
    r"\s+(?P<name>\w+)(?:=(?P<default>.+))?$"
)
_RESULT = re.compile(r"Tensor(?:\((?P<alias>\w)!?\))?(?P<list>\[\])?(?:\s+(?P<name>\w+))?$")


def _literal(text: str) -> Any:
    constants = {"None": None, "True": True, "False": False, "[]": (), **{f"torch.{n}": d for n, d in BY_NAME.items()}}
    if text in constants:
        return constants[text]
    if text.startswith("["):
        return tuple(_literal(t.strip()) for t in text[1:-1].split(","))
    if text[0] in "'\"":
        return text[1:-1]
    return float(text) if re.search(r"[.eE]|inf|nan", text) else int(text)


def _split(text: str) -> list[str]:
    return [t.strip() for t in re.split(r",(?![^\[]*\])", text) if t.strip()]


def parse(signature: str) -> tuple[str, tuple[Param, ...], tuple[Result, ...]]:
    """Name, arguments and results of a signature."""
    m = re.fullmatch(r"(\w+)\((.*)\) -> (.+)", signature)
    if m is None:
        raise ValueError(f"not a signature: {signature!r}")
    name, args, returns = m.groups()
    params, keyword_only = [], False
    for part in _split(args):
        if part == "*":
            keyword_only = True
            continue
        a = _ARG.fullmatch(part)
        if a is None:
            raise ValueError(f"{name}: not an argument: {part!r}")
        params.append(
            Param(
                name=a["name"],
                kind=a["kind"],
                is_list=bool(a["list"]),
                optional=bool(a["outer"] or a["inner"]),
                default=_REQUIRED if a["default"] is None else _literal(a["default"]),
                keyword_only=keyword_only,
                writes=bool(a["writes"]),
                alias=a["alias"] or "",
            )
        )
    results = []
    if returns != "()":
        for part in _split(returns[1:-1] if returns.startswith("(") else returns):
            r = _RESULT.fullmatch(part)
            if r is None:
                raise ValueError(f"{name}: not a result: {part!r}")
            results.append(Result(r["name"] or "", bool(r["list"]), r["alias"] or ""))
    return name, tuple(params), tuple(results)


def _camel(name: str) -> str:
    """In torch's camel case, where a letter after a digit is a capital, too."""
    return re.sub(r"(?:^|_|(?<=\d))([a-z])", lambda m: m[1].upper(), name).replace("_", "")


def elementwise(meta: M) -> M:
    """Say of a meta rule that it is one of element-wise ops."""
    POINTWISE.add(meta)
    return meta


def op(
    signature: str,
    *,
    meta: Meta,
    doc: str,
    differentiable: bool = True,
    inplace: bool = False,
    node: str = "",
    alias: Sequence[str] = (),
    random: bool = False,
    method: bool = True,
    public: bool = True,
    cuts: bool = False,
) -> Op:
    """Declare an op, and with ``inplace`` its in-place form ``name_``, which writes to the first argument.

    Args:
        signature: torch's, in the grammar at the top of this file.
        meta: called as ``meta(op, *values)``, tensors as their :class:`Spec`; returns a Spec, several, or Inferred.
        doc: one line for the reference page.
        differentiable: False for ops that cut the graph (comparisons, indices, random numbers).
        node: the backward node's name where it is not the op's name in camel case with ``Backward0``.
        alias: torch's other names, e.g. ``("absolute", "special.expit")``.
        random: draws from the session's generator.
        method, public: False where torch has no such method or no such public name.
        cuts: whether its in-place form is recorded although the op is not differentiable: what was there is gone, and
            gets a gradient of zero.
    """
    name, params, results = parse(signature)
    if name in CATALOG:
        raise ValueError(f"op {name} is declared twice")
    node = node or f"{_camel(name)}Backward0"
    declared = Op(name, signature, params, results, meta, doc, differentiable, node, tuple(alias), None, random,
                  method, public)  # fmt: skip
    CATALOG[name] = declared
    for a in alias:
        ALIASES[a] = name
    if inplace:
        text = re.sub(r"^(\w+)\(Tensor(\|Scalar)?", r"\1_(Tensor(a!)", signature)
        text = re.sub(r"-> .*", "-> Tensor(a!)", text)
        _, in_params, in_results = parse(text)
        CATALOG[f"{name}_"] = Op(f"{name}_", text, in_params, in_results, _inplace_meta(declared),
                                 f"In-place form of {name}.", differentiable or cuts, node, (), declared, random,
                                 method, public)  # fmt: skip
        for a in alias:
            if "." not in a:
                ALIASES[f"{a}_"] = f"{name}_"
    return declared


def _inplace_meta(base: Op) -> Meta:
    def meta(_: Op, target: Spec, *rest: Any) -> Inferred:
        try:
            made = base.infer((target, *rest))
        except NotImplementedError as e:  # that there is no such kernel shows after shapes and types
            if hasattr(e, "would_be"):
                check_written(target, e.would_be)
            raise
        if base.name == "abs" and target.dtype.is_complex:
            raise RuntimeError("In-place abs is not supported for complex tensors.")
        check_written(target, made.results[0], base.name == "fill")
        return Inferred((target,), made.compute)

    return meta


def check_written(target: Spec, result: Spec, uniform: bool = False) -> None:
    """Raise torch's error where an op's result can't be written to its argument; ``uniform``: it is one value, so that
    elements may share memory."""
    if result.shape != target.shape:
        raise RuntimeError(
            f"output with shape {list(target.shape)} doesn't match the broadcast shape {list(result.shape)}"
        )
    if not uniform:
        check_writable(target)
    if result.dtype.category > target.dtype.category:
        raise RuntimeError(
            f"result type {result.dtype.legacy} can't be cast to the desired output type {target.dtype.legacy}"
        )


def check_writable(target: Spec) -> None:
    """Raise torch's error where two elements share memory, as in an expanded tensor."""
    if any(step == 0 and size > 1 for size, step in zip(target.shape, target.strides, strict=True)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )
