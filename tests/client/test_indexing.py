"""Python's keys against NumPy's: what is read, what is written, where gradients go, and torch's refusals."""

import numpy as np
import pytest

import gradwire as torch

A = np.arange(24.0).reshape(2, 3, 4)
MASK = np.array([[True, False, True], [True, True, False]])
KEYS = {
    "int": 1,
    "negative": (0, -1),
    "slices": (slice(None), slice(1, None), slice(None, None, 2)),
    "ellipsis": (..., 1),
    "none": (None, 0, None),
    "list": [1, 0],
    "array": np.array([1, 0]),
    "mask": MASK,
    "mask and int": (MASK, 0),
    "mask and slice": (MASK, slice(0, 2)),
    "mask inside": (slice(None), MASK[0], slice(1, 3)),
    "adjacent": (slice(None), [0, 2], [1, 1]),
    "apart": ([0, 1], slice(None), [3, 1]),
    "broadcast": (np.array([[0], [1]]), [0, 2]),
    "empty": (np.zeros(0, int),),
}


def to_torch(key):
    if isinstance(key, tuple):
        return tuple(to_torch(k) for k in key)
    return torch.tensor(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("convert", [to_torch, lambda key: key], ids=["tensors", "arrays"])
def test_reading(key, convert):
    np.testing.assert_array_equal(torch.tensor(A)[convert(key)].numpy(), A[key])


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_writing_a_number(key):
    t, a = torch.tensor(A), A.copy()
    t[to_torch(key)] = 7.5
    a[key] = 7.5
    np.testing.assert_array_equal(t.numpy(), a)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_gradients_of_what_is_read_and_written(key):
    x, v = torch.tensor(A, requires_grad=True), torch.tensor(A[key], requires_grad=True)
    y = x * 2
    y[to_torch(key)] = v * 3
    (y[to_torch(key)] * 5).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros_like(A))
    np.testing.assert_array_equal(v.grad.numpy(), np.full_like(A[key], 15.0))


def test_what_is_read_twice_counts_twice():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[2, 0, 2]].sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1.0, 0.0, 2.0])


def test_an_int_is_a_view_and_no_index_among_others_as_in_numpy():
    np.testing.assert_array_equal(torch.tensor(A)[0, :, [0, 1]].numpy(), A[0][:, [0, 1]])


def test_what_is_left_keeps_its_history():
    x = torch.tensor(A, requires_grad=True)
    y = x * 2
    y[0, 1:] = 0.0
    y[torch.tensor(MASK)] = 1.0
    y.sum().backward()
    want = np.full_like(A, 2.0)
    want[0, 1:] = 0
    want[MASK] = 0
    np.testing.assert_array_equal(x.grad.numpy(), want)


def test_plain_keys_give_views_and_others_copies():
    t = torch.tensor(A)
    t[0].fill_(1.0)
    t[:, 1:2].mul_(0.0)
    t[[0, 1]].fill_(9.0)
    t[torch.tensor(1)][2] = 5.0
    want = A.copy()
    want[0], want[:, 1:2], want[1, 2] = 1.0, 0.0, 5.0
    np.testing.assert_array_equal(t.numpy(), want)


def test_one_number_goes_through_a_mask_without_asking_how_often_it_holds():
    t = torch.tensor(A)
    waits = t._session.wire.wait
    t._session.wire.wait = None
    try:
        t[t > 5] = 0.0
        t[torch.tensor(MASK)] = torch.tensor(1.0)
    finally:
        t._session.wire.wait = waits
    want = np.where(A > 5, 0.0, A)
    want[MASK] = 1.0
    np.testing.assert_array_equal(t.numpy(), want)


X = torch.zeros(2, 3)
REFUSALS = [
    (5, IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ((0, 5), IndexError, "index 5 is out of bounds for dimension 1 with size 3"),
    ((0, 0, 0), IndexError, "too many indices for tensor of dimension 2"),
    (slice(0, 2, -1), ValueError, "step must be greater than zero"),
    (1.0, IndexError, r"only integers, slices \(`:`\), ellipsis .* are valid indices \(got float\)"),
    (torch.tensor([0.5]), IndexError, "tensors used as indices must be long, int, byte or bool tensors"),
    (torch.tensor([5]), IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    (torch.tensor([True]), IndexError, r"The shape of the mask \[1\] at index 0 does not match the shape of the"),
    (([0, 1], [0, 1, 2]), IndexError, r"could not be broadcast together with shapes \[2\], \[3\]"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "kind", "text"), REFUSALS, ids=lambda v: v if isinstance(v, str) else "")
def test_refusals(key, kind, text):
    with pytest.raises(kind, match=text):
        X[key].numpy()


@pytest.mark.parametrize(("key", "value", "kind", "text"), [
    (0, torch.zeros(2), RuntimeError, r"The expanded size of the tensor \(3\) must match the existing size \(2\)"),
    ([0, 1], torch.zeros(2), RuntimeError, r"shape mismatch: value tensor of shape \[2\] cannot be broadcast to index"),
    ([0], torch.zeros(3, dtype=torch.float64), RuntimeError, "Index put requires the source and destination dtypes"),
    (0, [1, 2, 3], TypeError, "can't assign a list to a torch.FloatTensor"),
    (0, 1j, RuntimeError, "value cannot be converted to type float without overflow"),
], ids=lambda v: v if isinstance(v, str) else "")  # fmt: skip
def test_refusals_to_write(key, value, kind, text):
    with pytest.raises(kind, match=text):
        X[key] = value


def test_a_leaf_that_requires_grad_is_not_written_to():
    w = torch.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad is being used in an in-place"):
        w[0] = 1.0
    with pytest.raises(RuntimeError, match=r"^a leaf Variable that requires grad is being used in an in-place"):
        w[[0, 1]] = 1.0


def test_masks_that_do_not_fit_are_told_where():
    x = torch.zeros(2, 3, 4)
    with pytest.raises(IndexError, match=r"mask \[3, 2\] at index 1 does not match .* \[2, 3, 4\] at index 2"):
        x[:, torch.ones(3, 2, dtype=torch.bool)]


def test_keys_that_are_to_be_another_way():
    x = torch.arange(3)
    with pytest.warns(UserWarning, match="indexing with dtype torch.uint8 is now deprecated"):
        assert x[torch.tensor([1, 0, 1], dtype=torch.uint8)].tolist() == [0, 2]
    with pytest.warns(UserWarning, match="Using a non-tuple sequence for multidimensional indexing is deprecated"):
        assert torch.ones(2, 2)[[0, [1]]].tolist() == [1]
    with pytest.raises(TypeError, match="^Tensor does not support deleting items$"):
        del x[0]


def test_one_number_through_a_mask_takes_the_type():
    x = torch.zeros(2, dtype=torch.int64)
    x[torch.tensor([True, False])] = torch.tensor([1.5])
    assert x.tolist() == [1, 0]


@pytest.mark.parametrize(("a", "b", "dtype"), [("bfloat16", "int64", "bfloat16"), ("float16", "bfloat16", "float32")])
def test_where_joins_any_types(a, b, dtype):
    a, b = (torch.tensor([1, 2]).to(getattr(torch, d)) for d in (a, b))
    made = torch.where(torch.tensor([True, False]), a, 3 * b)
    assert made.dtype is getattr(torch, dtype)
    assert made.tolist() == [1, 6]
