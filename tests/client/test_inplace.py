"""In-place changes of shape and of memory: history follows, leaves are refused, views stay what they are."""

import pytest

import gradwire as torch

SHAPES = {
    "t_": (lambda x: x.t_(), (3, 2)),
    "transpose_": (lambda x: x.transpose_(0, 1), (3, 2)),
    "swapaxes_": (lambda x: x.swapaxes_(0, 1), (3, 2)),
    "swapdims_": (lambda x: x.swapdims_(0, 1), (3, 2)),
    "unsqueeze_": (lambda x: x.unsqueeze_(1), (2, 1, 3)),
    "squeeze_": (lambda x: x.unsqueeze_(0).squeeze_(0), (2, 3)),
    "as_strided_": (lambda x: x.as_strided_((3, 2), (1, 3)), (3, 2)),
}


@pytest.mark.parametrize(("f", "shape"), SHAPES.values(), ids=SHAPES)
def test_history_follows_a_change_of_shape(f, shape):
    w = torch.arange(6.0).view(2, 3).requires_grad_()
    y = w * 2
    before = y[0]
    assert f(y) is y
    assert tuple(y.shape) == shape
    y.mul_(3)
    assert before.tolist() == [0, 6, 12]
    y.sum().backward()
    assert (w.grad == 6).all()


def test_leaves():
    w = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"^a leaf Variable that requires grad is being used in an in-place"):
        w.t_()
    with torch.no_grad():
        w.t_()
    assert w.is_leaf
    (w * torch.arange(6.0).view(3, 2)).sum().backward()
    assert w.grad.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_data_is_shared_and_can_be_replaced():
    w = torch.ones(3, requires_grad=True)
    w.data.mul_(3)
    assert w.tolist() == [3, 3, 3]
    fresh = torch.arange(4.0)
    w.data = fresh
    fresh[0] = 5
    (w * w).sum().backward()
    assert w.is_leaf
    assert w.grad.tolist() == [10, 2, 4, 6]
    with pytest.raises(RuntimeError, match="must be floating point or complex dtype"):
        w.data = torch.arange(3)
    with pytest.raises(TypeError, match="Variable data has to be a tensor, but got int"):
        w.data = 1


def test_resize_keeps_memory():
    x = torch.arange(6.0)
    assert x.resize_(2, 2).tolist() == [[0, 1], [2, 3]]
    assert x.resize_(6).tolist() == [0, 1, 2, 3, 4, 5]
    assert x.resize_(8).tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert x.resize_as_(torch.zeros(1, 2)).shape == (1, 2)
    with pytest.raises(RuntimeError, match="^cannot resize variables that require grad$"):
        torch.zeros(2, requires_grad=True).resize_(3)


def test_set_and_storages():
    x, y = torch.zeros(3), torch.arange(4.0)
    x.set_(y)
    x[0] = 9
    assert y.tolist() == [9, 1, 2, 3]
    assert x.is_set_to(y)
    assert x.untyped_storage() == y.untyped_storage()
    assert x.untyped_storage().nbytes() == 16
    x.set_(y.untyped_storage(), 1, (2,), (2,))
    assert x.tolist() == [1, 3]


def test_where_views_begin():
    x = torch.zeros(3, 4, 5)
    views = {
        "slice": (x[1:, ::2], 20), "select": (x[2, 3], 55), "narrow": (x.narrow(1, 2, 2), 10),
        "diagonal": (x.diagonal(1, 1, 2), 1), "below": (x.diagonal(-1, 1, 2), 5), "unbind": (x.unbind(1)[3], 15),
        "split": (x.split(3, 1)[1], 15), "pieces": (x.split([1, 2, 1], 1)[2], 15), "none": (x.transpose(0, 2), 0),
        "view of view": (x[1][:, 2:].t()[1], 23),
    }  # fmt: skip
    for name, (v, want) in views.items():
        assert v.storage_offset() == want, name
        assert v.data_ptr() - x.data_ptr() == 4 * want, name
    assert torch.complex(x, x).imag.storage_offset() == 1
    assert torch.empty(0).data_ptr() == 0


def test_views_that_programs_return_know_where_they_begin():
    x = torch.zeros(8)
    f = torch.compile(lambda x: x[2:])
    for _ in range(3):
        assert f(x[1:]).storage_offset() == 3


def test_not_within_programs():
    x = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="gives a tensor from outside another shape in place"):
        torch.compile(lambda x: x.t_())(x)


def test_elements_may_share_memory_only_where_all_become_the_same():
    x = torch.zeros(1).expand(3)
    assert x.fill_(2).tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory"):
        x.add_(1)


OVERLAPPING = {
    "copied from a neighbour": lambda x: x[1:].copy_(x[:-1]),
    "added to by a neighbour": lambda x: x[1:].add_(x[:-1]),
    "by its transpose": lambda x: x.view(2, 2).mul_(x.view(2, 2).t()),
}


@pytest.mark.parametrize("write", OVERLAPPING.values(), ids=OVERLAPPING)
def test_what_is_read_is_not_written_to_in_part(write):
    with pytest.raises(RuntimeError, match="some elements of the input tensor and the written-to tensor refer to a"):
        write(torch.arange(4.0))
    x = torch.arange(4.0)
    assert x[:2].copy_(x[2:]).tolist() == [2, 3]
    assert x.add_(x.view(4)).tolist() == [4, 6, 4, 6]
