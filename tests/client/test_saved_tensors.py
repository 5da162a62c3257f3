"""What ops save for their derivatives, kept by hooks of the program's."""

import numpy as np
import pytest

import gradwire as torch
from gradwire.autograd.graph import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)

grad = torch.autograd.grad


@pytest.fixture
def session():
    with torch.connect() as s:
        yield s


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


class Log:
    """Hooks that take note of what goes through them."""

    def __init__(self):
        self.packed, self.unpacked = [], []

    def hooks(self):
        def pack(t):
            self.packed.append(t)
            return t.tolist()

        def unpack(values):
            self.unpacked.append(values)
            return torch.tensor(values)

        return saved_tensors_hooks(pack, unpack)


def test_each_saved_tensor_is_packed_and_unpacked():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    log = Log()
    with log.hooks():
        z = x * y
        assert {id(t) for t in log.packed} == {id(x), id(y)}  # the program's own tensors
        log.packed.clear()
        out = z.exp()
        assert log.packed == [out]
        assert out.requires_grad
    assert not log.unpacked
    out.sum().backward()
    assert sorted(log.unpacked[1:]) == [[1, 2], [3, 4]]
    e = np.exp([3.0, 8.0])
    np.testing.assert_allclose(x.grad.numpy(), e * [3, 4], rtol=1e-6)
    np.testing.assert_allclose(y.grad.numpy(), e * [1, 2], rtol=1e-6)


def test_what_unpack_returns_counts():
    x = leaf(2.0, 3.0)
    with saved_tensors_hooks(lambda t: t, lambda t: t * 10):
        y = x**2
    y.sum().backward()
    assert x.grad.tolist() == [40, 60]


def test_anything_may_be_kept_and_another_type_returned():
    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    with saved_tensors_hooks(lambda t: t.half(), lambda t: t):
        y = x.sin()
    y.sum().backward()
    assert x.grad.dtype is torch.float64
    np.testing.assert_allclose(x.grad.numpy(), np.cos([0.5, 1.5]), rtol=1e-3)


def test_only_what_is_recorded_and_saved_is_packed():
    x = leaf(2.0)
    log = Log()
    with log.hooks():
        for _ in range(2):
            x + 1
            x * 3
            torch.ones(1) * 2
            with torch.no_grad():
                x * x
    x * x
    assert not log.packed


def test_the_innermost_hooks_are_at_work():
    x = leaf(1.0)
    seen = []

    def hooks(n):
        return saved_tensors_hooks(lambda t: seen.append(("pack", n)) or t, lambda t: seen.append(("unpack", n)) or t)

    with hooks(1):
        a = x**2
        with hooks(2):
            b = x**2
        c = x**2
    (a + b + c).backward()
    assert [n for kind, n in seen if kind == "pack"] == [1, 2, 1]
    assert sorted(n for kind, n in seen if kind == "unpack") == [1, 1, 2]
    assert x.grad.tolist() == [6]


def test_from_the_second_call_on_nothing_waits(session, monkeypatch):
    x = leaf(1.0, 2.0)
    kept = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t.detach(), lambda t: t):
        first = (x * x).tanh()
        monkeypatch.setattr(session.wire, "wait", lambda request: pytest.fail("waited"))
        second = (x * x).tanh()
    assert len(kept) == 6
    monkeypatch.undo()
    a, b = grad(first.sum(), x), grad(second.sum(), x)
    assert a[0].tolist() == b[0].tolist()


def test_what_was_packed_is_kept_as_long_as_the_graph(session):
    x = torch.ones(300_000, requires_grad=True)  # large: the server is told at once when one is dropped
    with save_on_cpu():
        y = (x * 2).exp()
        z = (x * 2).exp().sum()
    assert len(session.packs) == 2
    z.backward()
    z.tolist()
    assert len(session.packs) == 1
    del y
    for _ in range(2):
        torch.ones(1).tolist()
    assert not session.packs


def test_graphs_that_are_kept_unpack_again():
    x = leaf(3.0)
    log = Log()
    with log.hooks():
        y = x**3
    assert grad(y, x, retain_graph=True)[0].tolist() == [27]
    assert grad(y, x)[0].tolist() == [27]
    assert log.unpacked == [[3], [3]]
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        grad(y, x)


def test_second_derivatives_know_where_what_was_saved_came_from():
    x = leaf(2.0)
    with saved_tensors_hooks(lambda t: t.tolist(), torch.tensor):
        y = (x * x) ** 3  # an input that is no leaf
        z = x.tanh()  # a result
    (g,) = grad(y, x, create_graph=True)
    assert g.tolist() == [6 * 2**5]
    assert grad(g, x)[0].tolist() == [30 * 2**4]
    (g,) = grad(z, x, create_graph=True)
    t = np.tanh(2.0)
    np.testing.assert_allclose(grad(g, x)[0].tolist(), [-2 * t * (1 - t * t)], rtol=1e-5)


def test_in_place_operations():
    x = leaf(1.0, 2.0)
    log = Log()
    for _ in range(2):
        log.packed.clear()
        with log.hooks():
            y = x * 1
            y.mul_(y.detach() + 1)  # saves the factor
            part = y[:1]
            part.exp_()  # saves its result, through a view
            y.pow_(2)  # saves what it overwrites
        assert len(log.packed) == 3
        y.sum().backward()
    by_hand = [2 * np.exp(2.0) * np.exp(2.0) * 2, 2 * 6 * 3]
    np.testing.assert_allclose(x.grad.numpy(), np.multiply(by_hand, 2), rtol=1e-5)


def test_an_operation_that_overwrites_what_it_saves():
    x = leaf(1.0, 2.0)
    with saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = x * 1
        y.mul_(y.detach())
        y.mul_(other=y)
    y.sum().backward()
    assert x.grad.tolist() == [2, 2 * 4 * 2]


def test_later_writes_do_not_matter_to_what_was_packed():
    x = leaf(1.0, 2.0)
    y = x * 1
    with saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        z = y.square()
    y.fill_(100.0)
    z.sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_a_node_that_is_looked_at_unpacks():
    x = leaf(0.0, 0.0)
    log = Log()
    with log.hooks():
        y = x.exp()
    assert y.grad_fn._saved_result.tolist() == [1, 1]
    assert y.grad_fn(torch.ones(2)).tolist() == [1, 1]
    assert log.unpacked == [[1, 1]] * 2


def test_custom_functions():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x**3
            ctx.save_for_backward(x, y, None)
            return y

        @staticmethod
        def backward(ctx, g):
            x, y, nothing = ctx.saved_tensors
            assert nothing is None
            return g * 3 * y / x

    x = leaf(2.0)
    log = Log()
    with log.hooks():
        y = Cube.apply(x)
    assert log.packed[0] is x
    assert log.packed[1] is y
    (g,) = grad(y, x, create_graph=True)
    assert log.unpacked == [[2], [8]]
    assert g.tolist() == [12]
    # 3 y / x, of which y is the function itself: 3 (y' / x - y / x²).
    assert grad(g, x)[0].tolist() == [3 * (12 / 2 - 8 / 4)]


def test_values_in_this_programs_memory():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    w = torch.tensor([[0.5, -1.0], [1.0, 2.0]], requires_grad=True)

    def loss(x, w):
        return torch.softmax((x @ w.t()).relu(), 1)[:, 0].log().sum()

    with save_on_cpu():
        kept = loss(x, w)
    for a, b in zip(grad(kept, (x, w)), grad(loss(x, w), (x, w)), strict=True):
        assert a.tolist() == b.tolist()
    half = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    with save_on_cpu(pin_memory=True):
        y = half * half
    y.sum().backward()
    assert half.grad.tolist() == [2, 2]
    assert half.grad.dtype is torch.bfloat16


def test_what_was_saved_may_be_written_to():
    x = leaf(2.0, 3.0)
    with allow_mutation_on_saved_tensors() as copies:
        y = x * 1
        out = y**3
        y.fill_(9.0)
        (g,) = grad(out.sum(), x, create_graph=True)
        assert g.tolist() == [12, 27]
        assert grad(g.sum(), x)[0].tolist() == [12, 18]
        with pytest.raises(RuntimeError, match="contexts cannot be nested"), allow_mutation_on_saved_tensors():
            pass
        out = y**2
        copies.clear()
        with pytest.raises(AssertionError, match="Trying to backward outside of the 'allow_mutation_on_saved_tensors'"):
            out.sum().backward()
        out = y**2
    with pytest.raises(AssertionError, match="Trying to backward outside of the 'allow_mutation_on_saved_tensors'"):
        out.sum().backward()


def test_hooks_forbidden():
    with disable_saved_tensors_hooks("no hooks here"):
        with pytest.raises(RuntimeError, match="no hooks here"), saved_tensors_hooks(print, print):
            pass
        with disable_saved_tensors_hooks("nor here"), pytest.raises(RuntimeError, match="nor here"), save_on_cpu():
            pass
    with save_on_cpu(), pytest.raises(RuntimeError, match="not now"), disable_saved_tensors_hooks("not now"):
        pass

    @disable_saved_tensors_hooks("decorated")
    def f():
        with save_on_cpu():
            pass

    with pytest.raises(RuntimeError, match="decorated"):
        f()
    with save_on_cpu():
        pass


def boom(_):
    raise ValueError("boom")


@pytest.mark.parametrize(
    ("pack", "unpack", "error", "text"),
    [
        (boom, lambda t: t, ValueError, "boom"),
        (lambda t: t, boom, ValueError, "boom"),
        (lambda t: t, lambda t: 3, TypeError,
         "Output of saved tensor unpack_hook expected to be a Tensor but got result of type int"),
        (lambda t: t.detach().add_(1), lambda t: t, RuntimeError,
         "A saved tensor pack hook is modifying its input in place."),
        (lambda t: t, lambda t: torch.ones(3), RuntimeError,
         "unpack_hook returned a tensor of shape [3] in place of a saved one of shape [2]"),
    ],
)  # fmt: skip
def test_what_hooks_must_not_do(pack, unpack, error, text):
    x = leaf(1.0, 2.0)

    def run():
        with saved_tensors_hooks(pack, unpack):
            y = x**2
        y.sum().backward()

    with pytest.raises(error) as e:
        run()
    assert str(e.value).startswith(text)


def test_under_a_vmap():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    log = Log()
    with log.hooks():
        y = torch.vmap(lambda row: (row * row).sum())(x)
    assert log.packed
    y.sum().backward()
    assert x.grad.tolist() == [[2, 4], [6, 8]]


def test_a_captured_function_refuses():
    x = leaf(1.0)

    def inside(x):
        with save_on_cpu():
            return x * x

    with pytest.raises(RuntimeError, match="has hooks keep what ops save at .* which can't be part of a captured"):
        torch.compile(inside)(x)
    with save_on_cpu(), pytest.raises(RuntimeError, match=r"calls mul\(\) where hooks keep what ops save at"):
        torch.compile(lambda x: x * x)(x)
