"""Ops that come again: they are sent as calls of templates, and must be the same as they were the first time."""

import sys

import pytest

import gradwire as torch
from gradwire.session import connect
from gradwire_proto.v1 import gradwire_pb2 as pb


@pytest.fixture
def session():
    with connect() as s:
        yield s


@pytest.fixture
def sent(session):
    """The frames that the session has sent so far: a function."""
    frames = []
    put = session.wire._outbox.put

    class Outbox:
        def put(self, data):
            if data is not None:
                frames.append(pb.Frame.FromString(data))
            put(data)

    session.wire._outbox = Outbox()

    def so_far():
        session.wire.flush()
        return frames

    return so_far


def instructions(frames, kind):
    return [i for f in frames for i in f.instructions if i.WhichOneof("kind") == kind]


def test_from_the_second_time_on_an_op_is_a_call(session, sent):
    x = torch.ones(17)  # no other test has told of this size
    for _ in range(4):
        x = x * 2
    assert x.tolist() == [16.0] * 17
    assert [i.apply.op for i in instructions(sent(), "apply")] == ["full", "mul"]
    (template,) = [t for f in sent() for t in f.templates]
    assert (template.op, template.results, template.no_grad) == ("mul", 1, False)
    assert sum(len(i.calls.words) for i in instructions(sent(), "calls")) == 3 * 4


@pytest.mark.parametrize("values", [(1, 1.0, True), (0.0, -0.0), (2, 2.5)])
def test_numbers_that_are_equal_are_not_the_same(session, values):
    for _ in range(3):
        for v in values:
            x = torch.ones(1, dtype=torch.int32) * v
            want = {bool: torch.int32, int: torch.int32, float: torch.float32}[type(v)]
            assert (x.dtype, str(x.tolist()[0])) == (want, str(want_value(v)))


def want_value(v):
    return v if isinstance(v, float) else int(v)


def test_parameters_are_tensors_like_others(session, sent):
    w = torch.nn.Parameter(torch.ones(19))
    for _ in range(4):
        y = w * 2
    assert y.tolist() == [2.0] * 19
    assert [i.apply.op for i in instructions(sent(), "apply")] == ["full", "detach", "mul"]


def test_a_tensor_whose_value_is_an_argument_is_read_each_time(session):
    x = torch.arange(5)
    for i in (1, 3, 4):
        assert x.select(0, torch.tensor(i)).item() == i


def test_lists_that_differ_in_shape_only_where_they_are_cut(session):
    a, b = torch.ones(1), torch.zeros(1)
    for _ in range(3):
        assert torch.cat([a, b]).tolist() == [1.0, 0.0]
        assert torch.cat([a, b, a]).tolist() == [1.0, 0.0, 1.0]
        assert torch.stack([a, b], 1).tolist() == [[1.0, 0.0]]


def test_grad_mode_is_each_calls_own(session):
    x = torch.ones(2, requires_grad=True)
    for _ in range(3):
        with torch.no_grad():
            quiet = x * 3
        loud = x * 3
        assert (quiet.requires_grad, loud.requires_grad) == (False, True)
        x.grad = None
        (loud * quiet).sum().backward()
        assert x.grad.tolist() == [9.0, 9.0]


def test_each_line_is_told_for_itself(session):
    x = torch.zeros(2, 2)
    for _ in range(2):
        at = sys._getframe().f_lineno + 1
        y = torch.linalg.inv(x)
        with pytest.raises(torch.LinAlgError, match=f"{__file__}:{at}"):
            y.sum().item()
        with pytest.raises(torch.LinAlgError, match=f"{__file__}:{at + 4}"):
            torch.linalg.inv(x).sum().item()


def test_writes_views_and_several_results(session):
    for _ in range(3):
        x = torch.arange(6.0).reshape(2, 3)
        x[0].add_(1)
        x.t()[2].mul_(10)
        values, order = x.sort(1, descending=True)
        assert x.tolist() == [[1.0, 2.0, 30.0], [3.0, 4.0, 50.0]]
        assert values.tolist() == [[30.0, 2.0, 1.0], [50.0, 4.0, 3.0]]
        assert order.tolist() == [[2, 1, 0]] * 2


def test_more_templates_than_the_server_takes(session, sent):
    """Their ids are given again, to what comes next."""
    session.wire.told.max_templates = 3
    x = torch.ones(2)
    for _ in range(4):
        assert [(x * i).tolist()[0] for i in range(8)] == list(range(8))
    ids = [t.id for f in sent() for t in f.templates]
    assert len(ids) > 20
    assert set(ids) == {1, 2, 3}


def test_a_number_that_equals_nothing(session):
    x = torch.ones(2)
    for _ in range(3):
        assert torch.full((2,), float("nan")).isnan().tolist() == [True, True]
        assert (x * float("nan")).isnan().all().item()


def test_what_no_session_of_a_server_could_hold_is_refused_each_time(session):
    x = torch.ones(2)
    session.limits.max_bytes = session.max_bytes = 100
    for _ in range(3):
        assert (x.reshape(2, 1) + torch.zeros(2)).shape == (2, 2)
        with pytest.raises(torch.OutOfMemoryError, match="gradwire out of memory"):
            torch.zeros(26)
