"""torch.utils.data.DataLoader: batches in order, and workers that get them ready."""

import re
import threading

import numpy as np
import pytest

import gradwire as torch
from gradwire.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
    get_worker_info,
)


class Range(IterableDataset):
    def __init__(self, start, end):
        self.start, self.end = start, end

    def __iter__(self):
        return iter(range(self.start, self.end))


class Shared(Range):
    """Each worker's part."""

    def __iter__(self):
        info = get_worker_info()
        return iter(range(self.start + info.id, self.end, info.num_workers))


class Images(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return {"image": np.full((1, 2), i, np.float32), "label": i, "name": f"no. {i}"}


def lists(loader):
    return [b.tolist() if isinstance(b, torch.Tensor) else b for b in loader]


def test_batches_of_rows():
    d = TensorDataset(torch.arange(5.0), torch.arange(5))
    loader = DataLoader(d, batch_size=2)
    assert [[t.tolist() for t in b] for b in loader] == [[[0, 1], [0, 1]], [[2, 3], [2, 3]], [[4], [4]]]
    assert (len(loader), len(DataLoader(d, 2, drop_last=True)), len(DataLoader(d))) == (3, 2, 5)
    assert [type(b) for b in DataLoader(d, batch_size=None)] == [list] * 5


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_of_dicts(num_workers):
    last = list(DataLoader(Images(), 2, num_workers=num_workers))[-1]
    assert (last["image"].tolist(), last["image"].dtype) == ([[[4, 4]]], torch.float32)
    assert (last["label"].tolist(), last["name"]) == ([4], ["no. 4"])


@pytest.mark.parametrize("num_workers", [0, 3])
def test_random_orders_follow_the_generator(num_workers):
    g = torch.Generator().manual_seed(3)
    loader = DataLoader(range(10), 4, shuffle=True, generator=g, num_workers=num_workers)
    one, other = lists(loader), lists(loader)
    assert [len(b) for b in one] == [4, 4, 2]
    assert sorted(i for b in one for i in b) == sorted(i for b in other for i in b) == list(range(10))
    assert one != other
    g.manual_seed(3)
    assert lists(loader) == one


def test_samplers_decide_what_comes():
    assert lists(DataLoader("abc", sampler=[2, 0])) == [["c"], ["a"]]
    assert lists(DataLoader({"x": 1, "y": 2}, 2, sampler=["y", "x"])) == [[2, 1]]
    loader = DataLoader(range(5), batch_sampler=BatchSampler(SequentialSampler(range(5)), 2, True))
    assert lists(loader) == [[0, 1], [2, 3]]
    assert (loader.batch_size, loader.drop_last, len(loader)) == (None, False, 2)


def test_a_function_makes_the_batches():
    def padded(batch):
        return torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)

    loader = DataLoader([torch.ones(1), torch.ones(3)], 2, collate_fn=padded)
    assert lists(loader) == [[[1, 0, 0], [1, 1, 1]]]


def test_what_comes_one_after_the_other():
    assert lists(DataLoader(Range(0, 5), 2)) == [[0, 1], [2, 3], [4]]
    assert lists(DataLoader(Range(0, 5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    assert lists(DataLoader(Range(0, 2), None)) == [0, 1]
    with pytest.raises(TypeError, match=r"object of type 'Range' has no len\(\)"):
        len(DataLoader(Range(0, 5)))


def test_a_model_learns_from_batches():
    x = torch.linspace(-1, 1, 64).reshape(-1, 1)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(30):
        for a, b in DataLoader(TensorDataset(x, 3 * x - 1), 16, shuffle=True, num_workers=1):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(a), b).backward()
            optimizer.step()
    assert abs(model.weight.item() - 3) < 1e-2
    assert abs(model.bias.item() + 1) < 1e-2


# ---- workers ----


def test_workers_take_turns():
    class Who(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            info = get_worker_info()
            return i, info.id, info.num_workers

    assert [torch.stack(b, 1).tolist() for b in DataLoader(Who(), num_workers=2)] == [
        [[0, 0, 2]], [[1, 1, 2]], [[2, 0, 2]], [[3, 1, 2]],
    ]  # fmt: skip
    assert get_worker_info() is None


def test_each_worker_goes_over_all_that_it_is_not_kept_from():
    assert lists(DataLoader(Range(0, 5), 2, num_workers=2)) == [[0, 1], [0, 1], [2, 3], [2, 3], [4], [4]]
    assert lists(DataLoader(Shared(0, 5), 2, num_workers=2)) == [[0, 2], [1, 3], [4]]


def test_a_worker_may_change_its_copy_of_the_dataset():
    def init(k):
        d = get_worker_info().dataset
        d.start, d.end = ((0, 3), (3, 7))[k]

    d = Range(0, 5)
    assert lists(DataLoader(d, None, num_workers=2, worker_init_fn=init)) == [0, 3, 1, 4, 2, 5, 6]
    assert (d.start, d.end) == (0, 5)


def test_seeds_follow_the_generator():
    def seeds():
        return [i.seed for i in DataLoader(range(2), None, num_workers=2, collate_fn=lambda _: get_worker_info(),
                                           generator=torch.Generator().manual_seed(5))]  # fmt: skip

    a, b = seeds()
    assert b == a + 1
    assert seeds() == [a, b]


@pytest.mark.parametrize("how", [{"num_workers": 2}, {"num_workers": 2, "worker_init_fn": lambda k: 1 / 0}, {}])
def test_what_fails_is_raised_when_its_batch_is_due(how):
    class Fails(Dataset):
        def __getitem__(self, i):
            return 1 // (1 - i)

        def __len__(self):
            return 3

    batches = iter(DataLoader(Fails(), **how))
    if "worker_init_fn" not in how:
        assert next(batches).item() == 1
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_workers_make_so_many_ahead_and_end_with_the_loop():
    made, begun = [], threading.Semaphore(0)

    class Noted(Dataset):
        def __len__(self):
            return 100

        def __getitem__(self, i):
            made.append(i)
            begun.release()
            return i

    batches = iter(DataLoader(Noted(), None, num_workers=2, prefetch_factor=3))
    assert next(batches) == 0
    for _ in range(6):
        assert begun.acquire(timeout=10)
    assert sorted(made) == list(range(6))
    before = threading.active_count()
    batches.close()
    workers = [t for t in threading.enumerate() if t.name.startswith("gradwire-data")]
    for t in workers:
        t.join(10)
    assert threading.active_count() <= before
    assert len(made) == 6


def test_a_batch_may_take_so_long():
    free = threading.Event()

    class Stuck(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, i):
            free.wait(10)

    with pytest.raises(RuntimeError) as e:
        list(DataLoader(Stuck(), None, num_workers=1, timeout=0.01))
    free.set()
    assert str(e.value) == "DataLoader timed out after 0.01 seconds"


# ---- refusals ----

D = range(3)


@pytest.mark.parametrize(
    ("dataset", "how", "says"),
    [
        (D, {"batch_size": 0}, "batch_size should be a positive integer value, but got batch_size=0"),
        (Range(0, 3), {"batch_size": 0}, "batch_size should be a positive integer value, but got batch_size=0"),
        (D, {"num_workers": -1},
         "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."),
        (D, {"timeout": -1}, "timeout option should be non-negative"),
        (D, {"prefetch_factor": 2},
         "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
         "multiprocessing, otherwise set prefetch_factor to None."),
        (D, {"num_workers": 1, "prefetch_factor": -2}, "prefetch_factor option should be non-negative"),
        (D, {"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
        (D, {"multiprocessing_context": "spawn"},
         "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
         "num_workers=0"),
        (D, {"sampler": [1], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
        (D, {"batch_sampler": [[1]], "drop_last": True},
         "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"),
        (D, {"batch_size": None, "drop_last": True},
         "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"),
        (Range(0, 3), {"shuffle": True},
         "DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle=True"),
        (Range(0, 3), {"sampler": [1]},
         "DataLoader with IterableDataset: expected unspecified sampler option, but got sampler=[1]"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(dataset, how, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        DataLoader(dataset, **how)


def test_a_loader_is_what_it_was_made():
    loader = DataLoader(range(3))
    with pytest.raises(ValueError, match="batch_size attribute should not be set after DataLoader is initialized"):
        loader.batch_size = 2
    loader.collate_fn = max
    assert list(loader) == [0, 1, 2]
