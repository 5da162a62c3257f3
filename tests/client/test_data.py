"""torch.utils.data's datasets, samplers and collation."""

import collections

import numpy as np
import pytest

import gradwire as torch
from gradwire.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)

Point = collections.namedtuple("Point", "x y")


class Counting(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def plain(v):
    """With lists in place of tensors, and their types."""
    if isinstance(v, torch.Tensor):
        return str(v.dtype).removeprefix("torch."), v.tolist()
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, tuple) and hasattr(v, "_fields"):
        return type(v)(*map(plain, v))
    return type(v)(map(plain, v)) if isinstance(v, (list, tuple)) else v


# ---- datasets ----


def test_rows_of_tensors():
    d = TensorDataset(torch.tensor([[1, 2], [3, 4]]), torch.tensor([5, 6]))
    assert len(d) == 2
    assert [t.tolist() for t in d[1]] == [[3, 4], 6]
    assert [[t.tolist() for t in row] for row in d.__getitems__([1, 0])] == [[[3, 4], 6], [[1, 2], 5]]


def test_a_subclass_decides_what_its_samples_are():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)[0].item() * 2

    d = Doubled(torch.arange(4))
    assert d.__getitems__([1, 3]) == [2, 6]

    class Named(Subset):
        def __getitem__(self, index):
            return f"sample {super().__getitem__(index)}"

    assert Named(range(10), [7, 8]).__getitems__([1]) == ["sample 8"]


def test_datasets_one_after_the_other():
    d = TensorDataset(torch.arange(3)) + TensorDataset(torch.arange(3, 5))
    assert isinstance(d, ConcatDataset)
    assert (len(d), d.cumulative_sizes) == (5, [3, 5])
    assert [d[i][0].item() for i in (0, 2, 3, -1, -5)] == [0, 2, 3, 4, 0]
    with pytest.raises(IndexError, match="list index out of range"):
        d[5]
    chain = Counting(2) + Counting(3)
    assert isinstance(chain, ChainDataset)
    assert (list(chain), len(chain)) == ([0, 1, 0, 1, 2], 5)


def test_datasets_side_by_side():
    rows = TensorDataset(torch.arange(2))
    assert plain(StackDataset(rows, "ab")[1]) == ((("int64", 1),), "b")
    assert StackDataset(x=[1, 2], y="ab").__getitems__([1, 0]) == [{"x": 2, "y": "b"}, {"x": 1, "y": "a"}]
    assert len(StackDataset([1, 2], "ab")) == 2


class Short(list):
    def __getitems__(self, indices):
        return []


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Dataset()[0], NotImplementedError, "Subclasses of Dataset should implement __getitem__."),
        (lambda: TensorDataset(torch.zeros(2), torch.zeros(3)), AssertionError, "Size mismatch between tensors"),
        (lambda: ConcatDataset([]), AssertionError, "datasets should not be an empty iterable"),
        (lambda: ConcatDataset([Counting(2)]), AssertionError, "ConcatDataset does not support IterableDataset"),
        (lambda: ConcatDataset([[1], [2]])[-3], ValueError, "absolute value of index should not exceed dataset length"),
        (lambda: list(ChainDataset([[1]])), AssertionError, "ChainDataset only supports IterableDataset"),
        (lambda: len(ChainDataset([[1]])), AssertionError, "ChainDataset only supports IterableDataset"),
        (lambda: StackDataset(), ValueError, "At least one dataset should be passed"),
        (lambda: StackDataset([1], x=[1]), ValueError,
         "Supported either ``tuple``- (via ``args``) or``dict``- (via ``kwargs``) like input/output, but both types "
         "are given."),
        (lambda: StackDataset([1], [1, 2]), ValueError, "Size mismatch between datasets"),
        (lambda: StackDataset(Short([1, 2])).__getitems__([1]), ValueError,
         "Nested dataset's output size mismatch. Expected 1, got 0"),
        (lambda: random_split(range(10), [3, 6]), ValueError,
         "Sum of input lengths does not equal the length of the input dataset!"),
        (lambda: random_split(range(10), [-0.5, 1.5]), ValueError, "Fraction at index 0 is not between 0 and 1"),
    ],
)  # fmt: skip
def test_what_makes_no_dataset(make, error, says):
    with pytest.raises(error) as e:
        make()
    assert str(e.value) == says


def test_random_parts_have_no_sample_in_common():
    parts = random_split(range(10), [3, 7], torch.Generator().manual_seed(1))
    assert [len(p) for p in parts] == [3, 7]
    assert sorted([*parts[0], *parts[1]]) == list(range(10))
    again = random_split(range(10), [3, 7], torch.Generator().manual_seed(1))
    assert [p.indices for p in again] == [p.indices for p in parts]
    assert [len(p) for p in random_split(range(10), [0.35, 0.65])] == [4, 6]
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0. This might result in an empty dataset."):
        random_split(range(1), [0.5, 0.5])


# ---- samplers ----


def test_orders():
    assert list(SequentialSampler("abc")) == [0, 1, 2]
    torch.manual_seed(0)
    whole = RandomSampler(range(10))
    one, other = list(whole), list(whole)
    assert sorted(one) == sorted(other) == list(range(10))
    assert one != other
    torch.manual_seed(0)
    assert list(whole) == one
    assert sorted(SubsetRandomSampler([3, 5, 8])) == [3, 5, 8]
    assert list(WeightedRandomSampler([0.0, 2.0, 0.0], 4)) == [1, 1, 1, 1]
    assert sorted(WeightedRandomSampler([1, 0, 2], 2, replacement=False)) == [0, 2]


def test_more_samples_than_there_are_come_in_whole_rounds():
    drawn = list(RandomSampler(range(10), num_samples=25))
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == list(range(10))
    assert len(set(drawn[20:])) == 5


def test_with_replacement_any_may_come():
    s = RandomSampler(range(3), replacement=True, num_samples=5000)
    drawn = list(s)
    assert (len(s), len(drawn), set(drawn)) == (5000, 5000, {0, 1, 2})


def test_batches_of_numbers():
    for drop_last, last in ((False, [[9]]), (True, [])):
        s = BatchSampler(SequentialSampler(range(10)), 3, drop_last)
        assert list(s) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], *last]
        assert len(s) == 3 + len(last)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: RandomSampler([1], replacement=1), TypeError,
         "replacement should be a boolean value, but got replacement=1"),
        (lambda: RandomSampler([]), ValueError,
         "num_samples should be a positive integer value, but got num_samples=0"),
        (lambda: WeightedRandomSampler([1], 3.0), ValueError,
         "num_samples should be a positive integer value, but got num_samples=3.0"),
        (lambda: WeightedRandomSampler([1], 3, 0), ValueError,
         "replacement should be a boolean value, but got replacement=0"),
        (lambda: WeightedRandomSampler([[1, 2]], 3), ValueError,
         "weights should be a 1d sequence but given weights have shape (1, 2)"),
        (lambda: BatchSampler([1], True, False), ValueError,
         "batch_size should be a positive integer value, but got batch_size=True"),
        (lambda: BatchSampler([1], 2, 1), ValueError, "drop_last should be a boolean value, but got drop_last=1"),
        (lambda: iter(Sampler()), NotImplementedError, ""),
    ],
)  # fmt: skip
def test_what_makes_no_sampler(make, error, says):
    with pytest.raises(error) as e:
        make()
    assert str(e.value) == says


# ---- collation ----

NONE_OF_THESE = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "


@pytest.mark.parametrize(
    ("samples", "batch"),
    [
        ([1, 2], ("int64", [1, 2])),
        ([1.5, 2], ("float64", [1.5, 2.0])),
        ([True, False], ("bool", [True, False])),
        (["a", "b"], ["a", "b"]),
        ([(1, 0.5), (2, 1.5)], [("int64", [1, 2]), ("float64", [0.5, 1.5])]),
        ([[1, "a"], [2, "b"]], [("int64", [1, 2]), ("a", "b")]),
        ([Point(1, 2), Point(3, 4)], Point(("int64", [1, 3]), ("int64", [2, 4]))),
        ([{"a": 1, "b": [2]}, {"a": 4, "b": [5]}], {"a": ("int64", [1, 4]), "b": [("int64", [2, 5])]}),
        ([np.zeros(2, "f4"), np.ones(2, "f4")], ("float32", [[0.0, 0.0], [1.0, 1.0]])),
        ([np.float32(1), np.float32(2)], ("float32", [1.0, 2.0])),
        ([np.array(1), np.array(2)], ("int64", [1, 2])),
        ([range(2), range(3, 5)], [("int64", [0, 3]), ("int64", [1, 4])]),
    ],
)  # fmt: skip
def test_batches_of_what_is_alike(samples, batch):
    assert plain(default_collate(samples)) == batch


def test_tensors_are_stacked_and_differentiable():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    batch = default_collate([x, 3 * x])
    batch.sum().backward()
    assert batch.tolist() == [[1, 2], [3, 6]]
    assert x.grad.tolist() == [4, 4]


def test_mappings_keep_what_else_they_have():
    made = default_collate([collections.defaultdict(list, a=1), collections.defaultdict(list, a=2)])
    assert made.default_factory is list
    assert plain(dict(made)) == {"a": ("int64", [1, 2])}


@pytest.mark.parametrize(
    ("samples", "error", "says"),
    [
        ([None, None], TypeError,
         NONE_OF_THESE + "<class 'NoneType'>"),
        ([np.array(["a"])] * 2, TypeError,
         NONE_OF_THESE + "<U1"),
        ([[1], [1, 2]], RuntimeError, "each element in list of batch should be of equal size"),
        ([np.zeros(2), np.zeros(3)], RuntimeError,
         "stack expects each tensor to be equal size, but got [2] at entry 0 and [3] at entry 1"),
        ([{"a": 1}, {"b": 2}], KeyError, "'a'"),
    ],
)  # fmt: skip
def test_what_is_not_alike(samples, error, says):
    with pytest.raises(error) as e:
        default_collate(samples)
    assert str(e.value) == says


def test_samples_alone_have_their_arrays_converted():
    made = default_convert({"a": (1, np.ones(2)), "b": [np.float32(3)], "c": Point("x", np.array(["s"]))})
    assert plain(made["a"]) == [1, ("float64", [1.0, 1.0])]
    assert plain(made["b"]) == [("float32", 3.0)]
    assert made["c"] == Point("x", np.array(["s"]))
