"""Anomaly mode: backward ends where it makes NaN, and shows the forward call behind what went wrong."""

import linecache
import warnings

import pytest

import gradwire as torch

HERE = __file__
NOT_KEPT = "^Error detected in SqrtBackward0. No forward pass information available. Enable detect anomaly during forw"


def line_of(text):
    """The number of the line of this file that holds ``text``, and ends with it."""
    return next(i for i, line in enumerate(linecache.getlines(HERE), 1) if line.rstrip().endswith(text))


def shown():
    return pytest.warns(UserWarning, match="Traceback of forward call that caused the error:")


@pytest.fixture
def anomaly():
    with pytest.warns(UserWarning, match="^Anomaly Detection has been enabled. This mode will increase the runtime"):
        mode = torch.autograd.detect_anomaly()
    with mode:
        yield


def square_root(x):
    return x.sqrt()  # here it goes wrong


def spoilt(x):
    y = square_root(x)  # called from here
    return (y * 0).sum()


def test_nan_is_refused_and_the_call_shown(anomaly):
    x = torch.tensor([4.0, 0.0], requires_grad=True)
    loss = spoilt(x)  # and this is the program
    with (
        pytest.warns(UserWarning, match="^Error detected in SqrtBackward0. Traceback of forward call") as seen,
        pytest.raises(RuntimeError, match="^Function 'SqrtBackward0' returned nan values in its 0th output."),
    ):
        loss.backward()
    assert x.grad is None
    (warning,) = seen
    assert warning.filename == HERE
    text = str(warning.message)
    assert text.startswith("Error detected in SqrtBackward0. Traceback of forward call that caused the error:\n")
    told = text[text.index(f'File "{HERE}"') :].splitlines()
    assert [line.strip() for line in told] == [
        f'File "{HERE}", line {line_of("# and this is the program")}, in test_nan_is_refused_and_the_call_shown',
        "loss = spoilt(x)  # and this is the program",
        f'File "{HERE}", line {line_of("# called from here")}, in spoilt',
        "y = square_root(x)  # called from here",
        f'File "{HERE}", line {line_of("# here it goes wrong")}, in square_root',
        "return x.sqrt()  # here it goes wrong",
    ]
    assert "client/gradwire/" not in text


def test_one_line_called_from_two_is_two_places(anomaly):
    x = torch.tensor(0.0, requires_grad=True)
    once = spoilt(x)
    twice = spoilt(x)  # the second time
    for loss, line in ((once, line_of("# the second time") - 1), (twice, line_of("# the second time"))):
        with pytest.warns(UserWarning, match=rf"line {line}, in test_one_line"), pytest.raises(RuntimeError):
            loss.backward()


def test_what_was_recorded_before_has_no_traceback():
    x = torch.tensor(0.0, requires_grad=True)
    loss = spoilt(x)
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match=NOT_KEPT),
        pytest.raises(RuntimeError, match="nan values"),
    ):
        loss.backward()


def test_grad_is_watched_as_backward_is(anomaly):
    x, y = torch.tensor(0.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    out = x.sqrt() * 0 * y
    assert torch.autograd.grad(out, y, retain_graph=True)[0].item() == 0  # what makes NaN isn't on the way
    with shown(), pytest.raises(RuntimeError, match="'SqrtBackward0' returned nan"):
        torch.autograd.grad(out, x, create_graph=True)
    with shown(), pytest.raises(RuntimeError, match="'MulBackward0' returned nan values in its 1th"):
        (torch.ones(2) * y).backward(torch.tensor([torch.nan, 1]))


def test_masks_and_indices_do_not_count_as_outputs(anomaly):
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    keep = torch.tensor([False, True])
    with shown(), pytest.raises(RuntimeError, match="'WhereBackward0' returned nan values in its 1th"):
        torch.where(keep, a.detach(), b).backward(torch.tensor([torch.nan, 1]))


def test_without_the_check_nan_passes_and_errors_are_shown_all_the_same():
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        x = torch.tensor(0.0, requires_grad=True)
        spoilt(x).backward()
        assert x.grad.isnan()
        y = x.exp()
        z = y.sum()
        y += 1
        with (
            pytest.warns(UserWarning, match=r"^Error detected in ExpBackward0. Traceback of forward call that caused"),
            pytest.raises(RuntimeError, match="Hint: the backtrace further above shows the operation that failed to "
                          "compute its gradient. The variable in question was changed in there or anywhere later. Go"),
        ):  # fmt: skip
            z.backward()


def test_what_custom_functions_raise_is_shown(anomaly):
    class Raises(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise ZeroDivisionError("of the program")

    y = Raises.apply(torch.ones(2, requires_grad=True))  # the custom one
    line = line_of("# the custom one")
    with (
        pytest.warns(UserWarning, match=rf"(?s)^Error detected in RaisesBackward. Traceback.*line {line}, in "),
        pytest.raises(ZeroDivisionError, match="of the program"),
    ):
        y.sum().backward()


def test_what_hooks_raise_is_shown_of_the_leaf(anomaly):
    def hook(g):
        raise ZeroDivisionError

    x = torch.ones(2, requires_grad=True)
    with x.register_hook(hook):
        loss = x.sum()  # where the leaf is used
        line = line_of("# where the leaf is used")
        with (
            pytest.warns(UserWarning, match=rf"(?s)^Error detected in torch::autograd::AccumulateGrad.*line {line}, "),
            pytest.raises(ZeroDivisionError),
        ):
            loss.backward()


def test_off_again_nothing_is_kept():
    x = torch.tensor(0.0, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        spoilt(x)
    assert not torch.is_anomaly_enabled()
    loss = spoilt(x)  # on the lines that it was on for
    loss.backward(retain_graph=True)
    assert x.grad.isnan()
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match=NOT_KEPT),
        pytest.raises(RuntimeError, match="nan values"),
    ):
        loss.backward()


def test_errors_outside_of_nodes_are_as_ever(anomaly):
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(()).backward()


def test_the_mode_is_asked_for_set_and_set_back():
    assert not torch.is_anomaly_enabled()
    assert torch.is_anomaly_check_nan_enabled()
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        assert (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()) == (True, False)
        with torch.autograd.set_detect_anomaly(False):
            assert not torch.is_anomaly_enabled()
        assert torch.is_anomaly_enabled()
    assert (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()) == (False, True)
    torch.autograd.set_detect_anomaly(True)
    assert torch.is_anomaly_enabled()
    torch.autograd.set_detect_anomaly(False)
    with pytest.raises(TypeError, match=r"^set_anomaly_enabled\(\): argument 'enabled' \(position 1\) must be bool"):
        torch.autograd.set_detect_anomaly(1)
    with pytest.raises(TypeError, match=r"argument 'check_nan' \(position 2\) must be bool, not str"):
        torch.set_anomaly_enabled(True, "yes")
    assert not torch.is_anomaly_enabled()


def test_a_compiled_function_refuses_or_is_streamed():
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def step():
        (g,) = torch.autograd.grad((x * x).sum(), x)
        return g

    whole, parts = torch.compile(step), torch.compile(step, fullgraph=False)
    assert whole().tolist() == parts().tolist() == [2, 4]
    with torch.autograd.set_detect_anomaly(True):
        with pytest.raises(RuntimeError, match=r"gradwire.compile: step\(\) runs backward in anomaly mode at "):
            whole()
        with pytest.warns(UserWarning, match="runs backward in anomaly mode"):
            assert parts().tolist() == [2, 4]
    assert whole().tolist() == [2, 4]
