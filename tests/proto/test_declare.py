"""Declaring ops: the grammar of signatures, binding with torch's errors, inference, in-place forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradwire_proto import dtypes
from gradwire_proto.catalog import declare
from gradwire_proto.catalog.declare import Op, check_writable, op, parse
from gradwire_proto.catalog.meta import pointwise, same
from gradwire_proto.spec import spec


class T:
    """A tensor, as far as binding cares."""

    ndim = 1


class Zero(T):
    """A 0-d tensor with a value."""

    ndim = 0

    def __init__(self, value: Any, dtype: dtypes.DType):
        self.value, self.dtype = value, dtype

    def item(self) -> Any:
        return self.value


x, y = T(), T()


@pytest.fixture(autouse=True)
def empty_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declare, "CATALOG", {})
    monkeypatch.setattr(declare, "ALIASES", {})


def make(signature: str, **kwargs: Any) -> Op:
    return op(signature, **{"meta": same, "doc": "An op.", **kwargs})


def bind(signature: str, *args: Any, **kwargs: Any) -> list[Any]:
    return make(signature).bind(args, kwargs, T)


# ---- the grammar ----


@pytest.mark.parametrize(
    ("text", "kind", "is_list", "optional"),
    [
        ("Tensor x", "Tensor", False, False),
        ("Tensor? x", "Tensor", False, True),
        ("Tensor[] x", "Tensor", True, False),
        ("Tensor?[] x", "Tensor", True, True),
        ("Tensor|Scalar x", "Tensor|Scalar", False, False),
        ("Scalar? x", "Scalar", False, True),
        ("int x", "int", False, False),
        ("int[] x", "int", True, False),
        ("int[]? x", "int", True, True),
        ("float[] x", "float", True, False),
        ("bool x", "bool", False, False),
        ("str x", "str", False, False),
        ("dtype? x", "dtype", False, True),
    ],
)
def test_kinds(text, kind, is_list, optional):
    _, (p,), _ = parse(f"f({text}) -> Tensor")
    assert (p.name, p.kind, p.is_list, p.optional, p.required) == ("x", kind, is_list, optional, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int x=-1", -1),
        ("int? x=None", None),
        ("float x=1e-05", 1e-5),
        ("float x=0.5", 0.5),
        ("float x=inf", float("inf")),
        ("bool x=True", True),
        ("str x='mean'", "mean"),
        ("int[] x=[0, 1]", (0, 1)),
        ("int[] x=[]", ()),
        ("dtype x=torch.float32", dtypes.float32),
        ("Scalar x=1", 1),
    ],
)
def test_defaults(text, value):
    _, (p,), _ = parse(f"f({text}) -> Tensor")
    assert p.default == value
    assert type(p.default) is type(value)


def test_keyword_only_and_aliases():
    name, params, results = parse("f_(Tensor(a!) x, int n=2, *, Tensor? y=None) -> Tensor(a)")
    assert name == "f_"
    assert [(p.name, p.keyword_only, p.writes, p.alias) for p in params] == [
        ("x", False, True, "a"), ("n", False, False, ""), ("y", True, False, "")]  # fmt: skip
    assert [(r.name, r.is_list, r.alias) for r in results] == [("", False, "a")]


@pytest.mark.parametrize(
    ("returns", "results"),
    [
        ("Tensor", [("", False, "")]),
        ("Tensor[]", [("", True, "")]),
        ("Tensor(a)[]", [("", True, "a")]),
        ("(Tensor values, Tensor indices)", [("values", False, ""), ("indices", False, "")]),
        ("(Tensor(a!), Tensor(b!))", [("", False, "a"), ("", False, "b")]),
        ("()", []),
    ],
)
def test_results(returns, results):
    assert [(r.name, r.is_list, r.alias) for r in parse(f"f(Tensor x) -> {returns}")[2]] == results


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("f(Tensor x)", "not a signature"),
        ("f(Tensor) -> Tensor", "f: not an argument: 'Tensor'"),
        ("f(tensor x) -> Tensor", "f: not an argument: 'tensor x'"),
        ("f(Tensor x) -> int", "f: not a result: 'int'"),
    ],
)
def test_what_is_no_signature(signature, text):
    with pytest.raises(ValueError, match=text):
        parse(signature)


# ---- declaring ----


def test_an_op_is_declared_once():
    make("f(Tensor input) -> Tensor", alias=("g", "special.f"))
    assert declare.ALIASES == {"g": "f", "special.f": "f"}
    with pytest.raises(ValueError, match="op f is declared twice"):
        make("f(Tensor input) -> Tensor")


def test_inplace_form():
    base = make("f(Tensor|Scalar input, Tensor other, *, Scalar alpha=1) -> Tensor", inplace=True, alias=("g", "a.g"))
    form = declare.CATALOG["f_"]
    assert form.signature == "f_(Tensor(a!) input, Tensor other, *, Scalar alpha=1) -> Tensor(a!)"
    assert (form.inplace_of, form.writes, form.view_of, form.node) == (base, (0,), None, base.node)
    assert declare.ALIASES == {"g": "f", "a.g": "f", "g_": "f_"}


def test_view():
    made = make("f(int n, Tensor(a) input) -> Tensor(a)")
    assert (made.view_of, made.writes, made.returns_list) == (1, (), False)
    assert make("g(Tensor(a) input) -> Tensor(a)[]").returns_list


def test_backward_nodes_have_torchs_names():
    assert make("log_softmax(Tensor input) -> Tensor").node == "LogSoftmaxBackward0"
    assert make("f(Tensor input) -> Tensor", node="FBackward1").node == "FBackward1"


# ---- binding ----


def test_bind_fills_in_defaults_in_order():
    s = "f(Tensor input, int dim=-1, *, float eps=0.5, dtype? dtype=None) -> Tensor"
    assert bind(s, x) == [x, -1, 0.5, None]
    declare.CATALOG.clear()
    assert bind(s, dtype=dtypes.int8, input=x, dim=2) == [x, 2, 0.5, dtypes.int8]


@pytest.mark.parametrize(
    ("kind", "given", "bound"),
    [
        ("int", np.int64(3), 3),
        ("int", Zero(4, dtypes.int64), 4),
        ("float", 2, 2.0),
        ("float", np.float32(0.5), 0.5),
        ("bool", np.True_, True),
        ("Scalar", np.complex128(1j), 1j),
        ("Scalar", True, True),
        ("Scalar", Zero(2.5, dtypes.float32), 2.5),
        ("Tensor|Scalar", np.float64(2), 2.0),
        ("int[]", [1, np.int32(2)], (1, 2)),
        ("int[]", 3, (3,)),
        ("float[]", 3, (3.0,)),
        ("Tensor[]", [x, y], (x, y)),
        ("Tensor?[]", [None, y], (None, y)),
        ("dtype", dtypes.int8, dtypes.int8),
        ("str", "mean", "mean"),
    ],
)
def test_bind_gives_plain_values(kind, given, bound):
    (value,) = bind(f"f({kind} v) -> Tensor", given)
    assert value == bound
    assert type(value) is type(bound)


def test_bind_knows_numpys_names():
    o = op("f(Tensor input, int[]? dim=None, bool keepdim=False) -> Tensor", meta=same, doc="")
    assert o.bind([], {"x1": x, "axis": 1, "keepdims": True}, T) == [x, (1,), True]
    with pytest.raises(TypeError, match=r"f\(\) got an unexpected keyword argument 'x2'"):
        o.bind([x], {"x2": y}, T)


def test_bind_takes_a_list_as_varargs():
    assert bind("view(Tensor input, int[] size) -> Tensor", x, 2, 3) == [x, (2, 3)]
    assert bind("tile(Tensor input, int[] dims, bool b=False) -> Tensor", x, 2, 3) == [x, (2, 3), False]
    assert bind("flip(Tensor input, int[] dims) -> Tensor", x, (2, 3)) == [x, (2, 3)]


@pytest.mark.parametrize(
    ("signature", "args", "kwargs", "text"),
    [
        ("sin(Tensor input) -> Tensor", (), {}, 'sin() missing 1 required positional arguments: "input"'),
        ("cumsum(Tensor input, int dim) -> Tensor", (x,), {},
         'cumsum() missing 1 required positional arguments: "dim"'),
        ("sin(Tensor input) -> Tensor", (x, x), {}, "sin() takes 1 positional argument but 2 were given"),
        ("hypot(Tensor input, Tensor other) -> Tensor", (x, y, x), {},
         "hypot() takes 2 positional arguments but 3 were given"),
        ("tril(Tensor input, int diagonal=0) -> Tensor", (x, 1, 2), {},
         "tril() takes from 1 to 2 positional arguments but 3 were given"),
        ("cumsum(Tensor input, int dim, *, dtype? dtype=None) -> Tensor", (x, 0, dtypes.int8), {},
         "cumsum() takes 2 positional arguments but 3 were given"),
        ("cumsum(Tensor input, int dim) -> Tensor", (x, 0), {"dim": 0},
         "cumsum() got multiple values for argument 'dim'"),
        ("tril(Tensor input, int diagonal=0) -> Tensor", (x,), {"foo": 1},
         "tril() got an unexpected keyword argument 'foo'"),
        ("cumsum(Tensor input, int dim) -> Tensor", (3, 0), {},
         "cumsum(): argument 'input' (position 1) must be Tensor, not int"),
        ("cumsum(Tensor input, int dim) -> Tensor", (x, 1.5), {},
         "cumsum(): argument 'dim' (position 2) must be int, not float"),
        ("cumsum(Tensor input, int dim) -> Tensor", (x, True), {},
         "cumsum(): argument 'dim' (position 2) must be int, not bool"),
        ("cumsum(Tensor input, int dim) -> Tensor", (x, float("nan")), {},
         "cumsum(): argument 'dim' (position 2) must be int, not float"),
        ("cumsum(Tensor input, int dim) -> Tensor", (x, x), {},
         "cumsum(): argument 'dim' (position 2) must be int, not T"),
        ("cumsum(Tensor input, int dim) -> Tensor", (x, Zero(1.0, dtypes.float32)), {},
         "cumsum(): argument 'dim' (position 2) must be int, not Zero"),
        ("cumsum(Tensor input, int dim) -> Tensor", (x, None), {},
         "cumsum(): argument 'dim' (position 2) must be int, not NoneType"),
        ("tril(Tensor input, int diagonal=0) -> Tensor", (x,), {"diagonal": 1.5},
         "tril(): argument 'diagonal' must be int, not float"),
        ("permute(Tensor input, int[] dims) -> Tensor", (x, 1.5), {},
         "permute(): argument 'dims' (position 2) must be tuple of ints, not float"),
        ("permute(Tensor input, int[] dims) -> Tensor", (x, (0, "a")), {},
         "permute(): argument 'dims' failed to unpack the object at pos 2 with error "
         '"type must be tuple of ints,but got str"'),
        ("permute(Tensor input, int[] dims) -> Tensor", (x, "ab"), {},
         "permute(): argument 'dims' (position 2) must be tuple of ints, not str"),
        ("cat(Tensor[] tensors, int dim=0) -> Tensor", (x,), {},
         "cat(): argument 'tensors' (position 1) must be tuple of Tensors, not T"),
        ("cat(Tensor[] tensors, int dim=0) -> Tensor", ([x, None],), {},
         "expected Tensor as element 1 in argument 0, but got NoneType"),
        ("add(Tensor input, Tensor|Scalar other) -> Tensor", (x, "a"), {},
         "add(): argument 'other' (position 2) must be Tensor or Number, not str"),
        ("lerp(Tensor input, Scalar weight) -> Tensor", (x, "a"), {},
         "lerp(): argument 'weight' (position 2) must be Number, not str"),
        ("to(Tensor input, dtype dtype) -> Tensor", (x, "float32"), {},
         "to(): argument 'dtype' (position 2) must be torch.dtype, not str"),
        ("f(Tensor input, bool flag) -> Tensor", (x, 1), {},
         "f(): argument 'flag' (position 2) must be bool, not int"),
        ("f(Tensor input, float p) -> Tensor", (x, 1j), {},
         "f(): argument 'p' (position 2) must be float, not complex"),
    ],
)  # fmt: skip
def test_bind_refuses_in_torchs_words(signature, args, kwargs, text):
    with pytest.raises(TypeError) as e:
        bind(signature, *args, **kwargs)
    assert str(e.value) == text


# ---- inference ----


def test_infer_remembers():
    asked = []

    def meta(op: Op, input: Any, n: Any) -> Any:
        asked.append(n)
        return input

    f = make("f(Tensor input, Scalar n) -> Tensor", meta=meta)
    a = spec((2,), dtypes.float32)
    assert f.infer([a, 1]) is f.infer([a, 1])
    assert f.infer([a, 1]).results == (a,)
    # 1, 1.0 and True are equal, but not the same to a meta rule.
    f.infer([a, 1.0])
    f.infer([a, True])
    assert [type(n) for n in asked] == [int, float, bool]


def test_infer_forgets_in_time(monkeypatch):
    monkeypatch.setattr(declare, "MAX_REMEMBERED", 3)
    f = make("f(Tensor input, int n) -> Tensor")
    for n in range(10):
        f.infer([spec((2,), dtypes.float32), n])
    assert len(f.remembered) <= 3


def test_infer_keeps_no_failures():
    def meta(op: Op, input: Any) -> Any:
        raise RuntimeError("no")

    f = make("f(Tensor input) -> Tensor", meta=meta)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no"):
            f.infer([spec((2,), dtypes.float32)])
    assert not f.remembered


def test_infer_adds_up_bytes():
    a = spec((2, 3), dtypes.float64)
    f = make("f(Tensor input) -> (Tensor, Tensor)", meta=lambda op, input: (input, spec((4,), dtypes.int8)))
    assert f.infer([a]).nbytes == 48 + 4


@pytest.fixture
def add_() -> Op:
    make("add(Tensor input, Tensor|Scalar other) -> Tensor", meta=pointwise(), inplace=True)
    return declare.CATALOG["add_"]


def test_inplace_results_are_their_targets(add_: Op):
    target = spec((2, 3), dtypes.float32, (1, 2))
    assert add_.infer([target, spec((3,), dtypes.float64)]).results == (target,)


def test_inplace_refuses_to_grow(add_: Op):
    with pytest.raises(RuntimeError, match=r"output with shape \[3\] doesn't match the broadcast shape \[2, 3\]"):
        add_.infer([spec((3,), dtypes.float32), spec((2, 3), dtypes.float32)])


def test_inplace_refuses_a_lower_category(add_: Op):
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        add_.infer([spec((3,), dtypes.int64), 1.5])


def test_inplace_refuses_overlapping_memory(add_: Op):
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory"):
        add_.infer([spec((3,), dtypes.float32, (0,)), 1])
    check_writable(spec((1,), dtypes.float32, (0,)))
