"""The graph seen from the client: nodes, their hooks, gradient edges, and hooks of several tensors."""

import gc

import pytest

import gradwire as torch
from gradwire.autograd.graph import (
    GradientEdge,
    Node,
    get_gradient_edge,
    increment_version,
    register_multi_grad_hook,
)

grad = torch.autograd.grad


@pytest.fixture
def session():
    with torch.connect() as s:
        yield s


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


def lists(tensors):
    return tuple(None if t is None else t.tolist() for t in tensors)


def names(node):
    return [(n and n.name(), nr) for n, nr in node.next_functions]


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.k = k
        ctx.save_for_backward(x)
        return x * k, x + k

    @staticmethod
    def backward(ctx, g, h):
        return g * ctx.k + h, None


# ---- nodes ----


def test_a_node_is_one_object():
    x = leaf(1.0, 2.0)
    y = x * 2 + 1
    node = y.grad_fn
    assert node is y.grad_fn
    assert len({node, y.grad_fn}) == 1
    assert isinstance(node, Node)
    assert type(node).__name__ == "AddBackward0"
    assert node.next_functions[0][0] is node.next_functions[0][0]
    assert x.grad_fn is None


def test_names_and_edges():
    x = leaf(1.0, 2.0)
    y = x * 2 + 1
    assert y.grad_fn.name() == "AddBackward0"
    assert names(y.grad_fn) == [("MulBackward0", 0), (None, 0)]
    product = y.grad_fn.next_functions[0][0]
    assert names(product) == [("torch::autograd::AccumulateGrad", 0), (None, 0)]
    assert product.next_functions[0][0].next_functions == ()
    assert product.next_functions[0][0].variable is x
    assert repr(product).startswith("<MulBackward0 object at 0x")
    with pytest.raises(AttributeError, match="'AddBackward0' object has no attribute 'variable'"):
        _ = y.grad_fn.variable


def test_only_what_has_a_derivative_has_an_edge():
    x = leaf(1.0, 2.0)
    index = torch.tensor([0])
    for made in (x**2, x.index_select(0, index), x.masked_fill(x > 0, 1.0), x.clamp(0), Scaled.apply(x, 3)[0]):
        assert names(made.grad_fn) == [("torch::autograd::AccumulateGrad", 0)]
    for made in (x + 1, torch.where(x > 1, x, 0.0)):
        assert names(made.grad_fn) == [("torch::autograd::AccumulateGrad", 0), (None, 0)]


def test_which_output_it_is():
    x = leaf(1.0, 2.0)
    assert [t.output_nr for t in (x * 2).unbind()] == [0, 1]
    assert (x.output_nr, (x * 2).output_nr) == (0, 0)
    a, b = Scaled.apply(x, 3)
    assert (b * 2).grad_fn.next_functions[0] == (a.grad_fn, 1)
    with pytest.raises(RuntimeError, match="Output 1 of Unbind is a view and is being modified inplace"):
        (x * 2).unbind()[1].add_(1)


def test_a_node_outlives_its_tensor():
    x = leaf(1.0, 2.0)
    y = (x * 2).exp()
    node = y.grad_fn
    y.mul_(3)  # has another history from now on
    assert y.grad_fn is not node
    assert names(y.grad_fn)[0] == ("ExpBackward0", 0)
    del y
    gc.collect()
    assert names(node) == [("MulBackward0", 0)]


def test_a_graph_of_any_size_is_walked():
    x = leaf(1.0)
    y = x
    for _ in range(600):
        y = y * 2
    node, steps = y.grad_fn, 0
    while node.next_functions:
        node, steps = node.next_functions[0][0], steps + 1
    assert (steps, node.variable is x) == (600, True)


def test_notes_stay_at_the_node():
    y = leaf(1.0) * 2
    y.grad_fn.metadata["a"] = 1
    assert y.grad_fn.metadata == {"a": 1}
    assert y.grad_fn.next_functions[0][0].metadata == {}
    y.grad_fn.next_functions[0][0].metadata["b"] = 2
    assert y.grad_fn.next_functions[0][0].metadata == {"b": 2}


def test_a_custom_functions_context_is_at_its_node():
    x = leaf(1.0, 2.0)
    node = Scaled.apply(x, 3)[0].grad_fn
    assert (node.name(), node.k, node.needs_input_grad) == ("ScaledBackward", 3, (True, False))
    assert node.saved_tensors[0] is x


def test_the_leaf_behind_a_node_comes_back():
    x = leaf(1.0, 2.0)
    y = x * 3
    del x
    gc.collect()
    y.sum().backward()
    x = y.grad_fn.next_functions[0][0].variable
    assert x.requires_grad
    assert x.is_leaf
    assert x.tolist() == [1, 2]
    assert x.grad.tolist() == [3, 3]


def test_a_node_can_be_called():
    x = leaf(1.0, 2.0)
    assert lists((x * 3).grad_fn(torch.ones(2))) == ([3, 3], None)
    y = x.square()
    for _ in range(2):
        g = y.grad_fn(torch.ones(2))
        assert g.tolist() == [2, 4]
        assert grad(g.sum(), x)[0].tolist() == [2, 2]
    with torch.no_grad():
        assert not y.grad_fn(torch.ones(2)).requires_grad
    assert Scaled.apply(x, 3)[0].grad_fn(torch.ones(2), None).tolist() == [3, 3]
    y.grad_fn.next_functions[0][0](torch.ones(2))
    assert x.grad.tolist() == [1, 1]
    with pytest.raises(TypeError, match="expected 1 arguments, got 0 instead"):
        y.grad_fn()
    y.sum().backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.grad_fn(torch.ones(2))


def test_what_a_node_saved():
    x = leaf(1.0, 2.0)
    node = (x**2).grad_fn
    assert node._saved_self is x
    assert node._saved_exponent == 2
    assert {"_saved_self", "_saved_exponent"} <= set(dir(node))
    y = x.exp()
    saved = y.grad_fn._saved_result
    assert saved.grad_fn is y.grad_fn
    assert saved.tolist() == y.tolist()
    (indices,) = x[torch.tensor([1])].grad_fn._saved_indices
    assert indices.tolist() == [1]
    assert x.softmax(0).grad_fn._saved_dim == 0
    with pytest.raises(AttributeError, match="'PowBackward0' object has no attribute '_saved_foo'"):
        _ = node._saved_foo
    y.sum().backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        _ = y.grad_fn._saved_result
    y = x.exp()
    node = y.grad_fn
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        _ = node._saved_result


# ---- hooks of nodes ----


def test_hooks_around_a_node():
    x = leaf(1.0, 2.0)
    y = x * 3
    seen = []
    y.grad_fn.register_prehook(lambda gs: seen.append(("before", *lists(gs))) or (gs[0] * 2,))
    after = y.grad_fn.register_hook(lambda gi, go: seen.append(("after", lists(gi), lists(go))) or (gi[0] + 1, None))
    y.sum().backward(retain_graph=True)
    assert seen == [("before", [1, 1]), ("after", ([6, 6], None), ([2, 2],))]
    assert x.grad.tolist() == [7, 7]
    after.remove()
    after.remove()
    seen.clear()
    y.sum().backward()
    assert seen == [("before", [1, 1])]
    assert x.grad.tolist() == [13, 13]


def test_order_of_all_hooks():
    x = leaf(1.0, 2.0)
    y = x * 3
    accumulator = y.grad_fn.next_functions[0][0]
    seen = []
    note = lambda what: lambda *_: seen.append(what)  # noqa: E731
    y.grad_fn.register_hook(note("after 1"))
    y.grad_fn.register_prehook(note("before 1"))
    y.register_hook(note("tensor 1"))
    y.grad_fn.register_prehook(note("before 2"))
    y.grad_fn.register_hook(note("after 2"))
    y.register_hook(note("tensor 2"))
    x.register_post_accumulate_grad_hook(lambda p: seen.append(("accumulated", p.grad.tolist())))
    accumulator.register_hook(lambda gi, go: seen.append(("leaf after", gi, lists(go), x.grad.tolist())))
    accumulator.register_prehook(lambda gs: seen.append(("leaf before", *lists(gs), x.grad)))
    x.register_hook(note("leaf tensor"))
    y.sum().backward()
    assert seen == [
        "tensor 1", "tensor 2", "before 1", "before 2", "after 1", "after 2",
        "leaf tensor", ("leaf before", [3, 3], None), ("accumulated", [3, 3]), ("leaf after", (), ([3, 3],), [3, 3]),
    ]  # fmt: skip


def test_a_nodes_hooks_see_all_its_outputs():
    x = leaf(1.0)
    a, b = Scaled.apply(x, 3)
    seen = []
    a.grad_fn.register_prehook(lambda gs: seen.append(lists(gs)))
    a.grad_fn.register_hook(lambda gi, go: seen.append((lists(gi), lists(go))))
    a.register_hook(lambda g: g * 10)
    (a + b).backward()
    assert seen == [([10], [1]), (([31],), ([10], [1]))]
    c, d = (x * 2).expand(2).unbind()
    c.grad_fn.register_prehook(lambda gs: seen.append(lists(gs)))
    d.backward()
    assert seen[-1] == (None, 1)


def test_what_is_captured_is_not_what_hooks_of_the_node_make():
    x = leaf(1.0, 2.0)
    y = x * 2
    seen = []
    y.grad_fn.register_prehook(lambda gs: seen.append(1) or (gs[0] * 10,))
    assert grad(y.sum(), y, retain_graph=True)[0].tolist() == [1, 1]
    assert not seen
    assert lists(grad(y.sum(), (y, x))) == ([1, 1], [20, 20])


def test_a_hook_may_withhold_a_gradient():
    x = leaf(1.0)
    y = x * 2
    handle = y.grad_fn.register_hook(lambda gi, go: (None, None))
    y.backward(retain_graph=True)
    assert x.grad is None
    handle.remove()
    deep = (y + 1).exp()
    handle = deep.grad_fn.next_functions[0][0].next_functions[0][0].register_hook(lambda gi, go: (None, None))
    (y * 3).backward(retain_graph=True)  # on another way to the node
    assert x.grad is None
    handle.remove()
    y.backward()
    assert x.grad.tolist() == [2]


def test_a_hook_sees_gradients_that_fit():
    x = torch.ones(2, requires_grad=True)
    seen = []
    for y in (torch.ones(3, 2) * x, torch.ones(3, 2, dtype=torch.float64) + x, x.expand(3, 2) / 1):
        y.grad_fn.register_hook(lambda gi, go: seen.append([(g.shape, g.dtype) for g in gi if g is not None]))
        y.sum().backward()
    assert seen == [[((2,), torch.float32)]] * 2 + [[((3, 2), torch.float32)]]


def test_hooks_of_second_derivatives():
    x = leaf(2.0)
    y = x**3
    y.grad_fn.register_hook(lambda gi, go: (gi[0] * gi[0],))
    (g,) = grad(y, x, create_graph=True)
    assert g.tolist() == [144]
    assert grad(g, x)[0].tolist() == [2 * 12 * 12]


@pytest.mark.parametrize(
    ("before", "hook", "error", "text"),
    [
        (False, lambda gi, go: (1, None), TypeError, "expected Variable, but hook returned 'int'"),
        (False, lambda gi, go: (gi[0],), RuntimeError,
         "hook '<lambda>' has returned an incorrect number of values (got 1, but expected 2)"),
        (False, lambda gi, go: 3, TypeError, "expected tuple, but hook returned 'int'"),
        (False, lambda gi, go: gi[0], TypeError, "expected tuple, but hook returned 'Tensor'"),
        (False, lambda gi, go: (torch.ones(3), None), RuntimeError, "hook '<lambda>' has changed the size of value"),
        (False, lambda gi, go: (None, torch.ones(2)), RuntimeError,
         "can't replace a None gradient with a non-None value"),
        (True, lambda gs: gs[0], TypeError, "expected tuple, but hook returned 'Tensor'"),
        (True, lambda gs: (gs[0].double(),), RuntimeError,
         "hook '<lambda>' has changed the type of value (was torch.FloatTensor got torch.DoubleTensor)"),
        (True, lambda gs: (gs[0], gs[0]), RuntimeError,
         "hook '<lambda>' has returned an incorrect number of values (got 2, but expected 1)"),
    ],
)  # fmt: skip
def test_what_a_nodes_hook_must_not_return(before, hook, error, text):
    y = leaf(1.0, 2.0) * 3
    (y.grad_fn.register_prehook if before else y.grad_fn.register_hook)(hook)
    with pytest.raises(error) as e:
        y.sum().backward()
    assert str(e.value).startswith(text)


# ---- hooks and the session ----


def test_hooks_go_with_their_graph(session):
    x = leaf(1.0)
    for _ in range(10):
        y = x * 2
        y.register_hook(lambda g: g)
        y.grad_fn.register_prehook(lambda gs: None)
        y.backward()
    del y
    for _ in range(3):  # the server tells with an answer that it gives
        session.tell_dead()
        torch.ones(100_000, 3)
        session.synchronize()
    assert len(session.hooks) <= 2
    assert not session.stray_hooks


def test_a_removed_hook_costs_no_round_trip(session, monkeypatch):
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: g).remove()
    y.grad_fn.next_functions[0][0].register_prehook(lambda gs: None).remove()
    monkeypatch.setattr(session.wire, "wait", lambda request: pytest.fail("waited"))
    (y * 3).backward()
    assert x.grad is not None


def test_a_captured_function_refuses(session):
    x = leaf(1.0)
    y = x * 2
    node = y.grad_fn
    for f in (lambda x: (x * 2).output_nr, lambda x: get_gradient_edge(x), lambda x: node.register_hook(print),
              lambda x: torch.autograd.grad(y.sum(), GradientEdge(node, 0))):  # fmt: skip
        with pytest.raises(RuntimeError, match="which can't be part of a captured program"):
            torch.compile(f)(x)
    accumulator = y.grad_fn.next_functions[0][0]
    step = torch.compile(lambda: (x * 2).sum().backward())
    step()
    with accumulator.register_prehook(print), pytest.raises(RuntimeError, match="hooks are registered"):
        step()
    step()
    assert x.grad.tolist() == [4]


def test_all_handles_are_torchs(session):
    x = leaf(1.0)
    y = x * 2
    layer = torch.nn.Linear(1, 1)
    for handle in (x.register_hook(print), y.grad_fn.register_prehook(print), layer.register_forward_hook(print)):
        assert isinstance(handle, torch.utils.hooks.RemovableHandle)
        handle.remove()


# ---- versions ----


def test_a_write_that_nobody_saw():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = y**2
    increment_version(y)
    assert y._version == 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    part, scalar = torch.ones(3, 2).t(), torch.ones(())
    increment_version(t for t in (part, scalar, x))
    assert (part._version, scalar._version, x._version) == (1, 1, 1)
    assert part.tolist() == [[1] * 3] * 2
    with pytest.raises(RuntimeError, match=r"increment_version expect a Iterable\[Tensor\] as input"):
        increment_version(3)


# ---- edges ----


def test_edges_stand_for_tensors():
    x = leaf(1.0, 2.0)
    to_x = get_gradient_edge(x)
    assert (type(to_x.node).__name__, to_x.output_nr) == ("AccumulateGrad", 0)
    y = x * 2
    to_y = get_gradient_edge(y)
    assert (to_y.node, to_y.output_nr) == (y.grad_fn, 0)
    ones = torch.ones(2)
    assert lists(grad(y, to_x, ones, retain_graph=True)) == ([2, 2],)
    assert lists(grad(to_y, x, ones, retain_graph=True)) == ([2, 2],)
    assert lists(grad([to_y], [to_y, to_x], ones * 3, retain_graph=True)) == ([3, 3], [6, 6])
    torch.autograd.backward(to_y, ones, retain_graph=True)
    assert x.grad.tolist() == [2, 2]
    torch.autograd.backward(to_y, ones, inputs=to_x)
    assert x.grad.tolist() == [4, 4]


def test_an_edge_outlives_its_tensor():
    x = leaf(1.0, 2.0)

    def f():
        y = x * 2
        return get_gradient_edge(y), (y * 3).sum()

    edge, out = f()
    gc.collect()
    assert lists(grad(out, edge)) == ([3, 3],)


def test_edges_of_several_outputs():
    x = leaf(1.0, 2.0)
    parts = (x * x).split(1)
    edge = get_gradient_edge(parts[1])
    assert (edge.node.name(), edge.output_nr) == ("SplitBackward0", 1)
    assert lists(grad(edge, x, torch.ones(1))) == ([0, 4],)


def test_an_edge_without_gradient():
    x = leaf(1.0, 2.0)
    scalar = get_gradient_edge((x * 2).sum())
    torch.autograd.backward(scalar)
    assert x.grad.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        grad(get_gradient_edge(x * 2), x)
    with pytest.raises(RuntimeError, match="not possible to get the gradient edge for a Tensor that does not require"):
        get_gradient_edge(torch.ones(2))


def test_backward_to_what_is_no_leaf_uses_its_node_up():
    x = leaf(1.0, 2.0)
    y = x * x
    z = (y * y).sum()
    z.backward(inputs=[y], retain_graph=True)
    assert y.grad.tolist() == [2, 8]
    assert x.grad is None
    (y * 2).sum().backward(inputs=[y])
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        z.backward()


# ---- hooks of several tensors ----


def test_all_gradients_of_each_pass():
    t1, t2, t3, t4 = (torch.ones(2, requires_grad=True) for _ in range(4))
    seen = []
    handle = register_multi_grad_hook((t1, t2, t3, t4), lambda gs: seen.append([g is not None for g in gs]))
    a = t2 + t1
    (a * t2).sum().backward()
    (a + t3 * 2).sum().backward()
    (t1 + t2 + t3 + t4).sum().backward()
    assert seen == [[True, True, False, False], [True, True, True, False], [True] * 4]
    handle.remove()
    (t1 + t2).sum().backward()
    assert len(seen) == 3


def test_the_first_gradient_of_each_pass():
    x = leaf(1.0, 2.0)
    a, b = x * 2, x * 3
    seen = []
    with register_multi_grad_hook((a, b, torch.ones(1)), lambda g: seen.append(g.tolist()), mode="any"):
        (a * 5 + b * 4).sum().backward(retain_graph=True)
        assert seen in ([[5, 5]], [[4, 4]])
        (a + b).sum().backward()
    assert seen[1:] == [[1, 1]]


def test_a_pass_that_failed_does_not_count():
    x, y = leaf(1.0), leaf(2.0)
    seen = []
    register_multi_grad_hook((x, y), lambda gs: seen.append(lists(gs)))

    def fail(g):
        raise ValueError("no")

    out = x * 2 + y * 3
    with y.register_hook(fail), pytest.raises(ValueError, match="no"):
        (x * 2 + y.mul(1) * 3).backward()
    out.backward()
    assert seen == [([2], [3])]


def test_a_pass_within_a_pass_counts_apart():
    x, y = leaf(1.0), leaf(2.0)
    seen = []
    register_multi_grad_hook((x, y), lambda gs: seen.append(lists(gs)))
    done = []

    def inner(g):
        if not done:
            done.append(1)
            with torch.enable_grad():
                (x * 5 + y * 7).backward()

    handle = x.register_hook(inner)
    (x * 2 + y * 3).backward()
    handle.remove()
    assert sorted(seen) == [([2], [3]), ([5], [7])]


def test_only_what_grad_asks_for_is_waited_for():
    x, y = leaf(1.0), leaf(2.0)
    a, b = x * 2, y * 3
    seen = []
    register_multi_grad_hook((a, b), lambda gs: seen.append(lists(gs)))
    grad(a * 5 + b * 7, x)
    assert seen == [([5], None)]


def test_what_several_tensors_must_be():
    t = leaf(1.0)
    with pytest.raises(ValueError, match=r"Expects mode to be one of \('all', 'any'\) but got foo"):
        register_multi_grad_hook((t,), print, mode="foo")
    with pytest.raises(AssertionError, match="Expected gradient function to be set"):
        register_multi_grad_hook((t, torch.ones(2)), print)
