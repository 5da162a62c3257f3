"""Schedules against their closed forms, saved and loaded on the way; warnings and errors."""

import math
import warnings

import numpy as np
import pytest

import gradwire as torch
from gradwire import optim
from gradwire.optim import lr_scheduler as schedules
from gradwire.optim import swa_utils


def optimizer(lr=2.0, make=optim.SGD, **options):
    p = torch.tensor([1.0, -2.0], requires_grad=True)
    q = torch.tensor(3.0, requires_grad=True)
    return make([{"params": [p]}, {"params": [q], "lr": lr / 4}], lr=lr, **options)


def cos(part):
    return (1 + math.cos(math.pi * part)) / 2


def triangle(t, up, down):
    x = t % (up + down)
    return x / up if x <= up else (up + down - x) / down


BY_EPOCH = {
    "StepLR": (lambda o: schedules.StepLR(o, 3), lambda t: 0.1 ** (t // 3)),
    "MultiStepLR": (lambda o: schedules.MultiStepLR(o, [2, 5, 5], 0.5),
                    lambda t: 0.5 ** ((t >= 2) + 2 * (t >= 5))),
    "ConstantLR": (lambda o: schedules.ConstantLR(o, 0.25, 4), lambda t: 0.25 if t < 4 else 1),
    "LinearLR": (lambda o: schedules.LinearLR(o, 0.5, 1.0, 4), lambda t: 0.5 + 0.5 * min(1, t / 4)),
    "LinearLR to zero": (lambda o: schedules.LinearLR(o, 1.0, 0.0, 4), lambda t: max(0, 1 - t / 4)),
    "ExponentialLR": (lambda o: schedules.ExponentialLR(o, 0.9), lambda t: 0.9**t),
    "PolynomialLR": (lambda o: schedules.PolynomialLR(o, 8, 2.0), lambda t: (1 - min(t, 8) / 8) ** 2),
    "LambdaLR": (lambda o: schedules.LambdaLR(o, lambda t: 1 / (t + 1)), lambda t: 1 / (t + 1)),
    "MultiplicativeLR": (lambda o: schedules.MultiplicativeLR(o, [lambda t: t, lambda t: t]), math.factorial),
    "CosineAnnealingLR": (lambda o: schedules.CosineAnnealingLR(o, 4), lambda t: cos(t / 4)),
    "warm restarts": (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 2),
                      lambda t: cos(t / 2) if t < 2 else cos((t - 2) / 4) if t < 6 else cos((t - 6) / 8)),
    "CyclicLR": (lambda o: schedules.CyclicLR(o, [2, 0.5], [6, 1.5], 3, 5), lambda t: 1 + 2 * triangle(t, 3, 5)),
    "triangular2": (lambda o: schedules.CyclicLR(o, [2, 0.5], [6, 1.5], 3, mode="triangular2"),
                    lambda t: 1 + 2 * triangle(t, 3, 3) / 2 ** (t // 6)),
    "exp_range": (lambda o: schedules.CyclicLR(o, [2, 0.5], [6, 1.5], 3, mode="exp_range", gamma=0.9),
                  lambda t: 1 + 2 * triangle(t, 3, 3) * 0.9**t),
    "scale_fn": (lambda o: schedules.CyclicLR(o, [2, 0.5], [6, 1.5], 3, scale_fn=lambda t: 1 / (1 + t),
                                              scale_mode="iterations"),
                 lambda t: 1 + 2 * triangle(t, 3, 3) / (1 + t)),
    "OneCycleLR": (lambda o: schedules.OneCycleLR(o, [2, 0.5], 21, pct_start=0.5),
                   lambda t: 1 - 0.96 * cos(t / 9.5) if t < 9.5 else 4e-6 + (1 - 4e-6) * cos((t - 9.5) / 10.5)),
    "three phases": (lambda o: schedules.OneCycleLR(o, [2, 0.5], epochs=4, steps_per_epoch=5, anneal_strategy="linear",
                                                    three_phase=True, div_factor=2, final_div_factor=4),
                     lambda t: 0.5 + t / 10 if t <= 5 else 1.5 - t / 10 if t <= 10 else 0.5 - (t - 10) / 24),
    "SequentialLR": (lambda o: schedules.SequentialLR(o, [schedules.LinearLR(o, 0.5, 1.0, 2), schedules.StepLR(o, 2)],
                                                      [3]),
                     lambda t: 0.5 + 0.25 * min(t, 2) if t < 3 else 0.1 ** ((t - 3) // 2)),
    "ChainedScheduler": (lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o, 0.5, 3),
                                                               schedules.ExponentialLR(o, 0.9)]),
                         lambda t: (0.5 if t < 3 else 1) * 0.9**t),
    "SWALR": (lambda o: swa_utils.SWALR(o, [1, 0.25], 4), lambda t: 0.5 + 0.5 * cos(min(t, 4) / 4)),
    "SWALR linear": (lambda o: swa_utils.SWALR(o, [1, 0.25], 4, "linear"), lambda t: 1 - min(t, 4) / 8),
    "SWALR at once": (lambda o: swa_utils.SWALR(o, [1, 0.25], 0), lambda t: 0.5),
}  # fmt: skip


@pytest.mark.parametrize("on_the_server", [False, True])
@pytest.mark.parametrize("name", BY_EPOCH)
def test_rates_by_epoch(name, on_the_server):
    make, factor = BY_EPOCH[name]
    lr = torch.tensor(2.0, dtype=torch.float64) if on_the_server else 2.0
    o = optimizer(lr)
    schedule = make(o)
    for epoch in range(13):
        for got in (schedule.get_last_lr(), [g["lr"] for g in o.param_groups]):
            want = [2 * factor(epoch), factor(epoch) / 2]
            np.testing.assert_allclose([float(x) for x in got], want, atol=1e-12, err_msg=f"{epoch}")
        if epoch == 5:
            before, saved = o, schedule.state_dict()
            o = optimizer(torch.tensor(2.0, dtype=torch.float64) if on_the_server else 2.0)
            schedule = make(o)
            schedule.load_state_dict(saved)
            o.load_state_dict(before.state_dict())
        o.step()
        schedule.step()
    if on_the_server and name not in ("CyclicLR", "triangular2", "exp_range", "scale_fn"):
        assert isinstance(o.param_groups[0]["lr"], torch.Tensor)


CLOSED = ["StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR", "LambdaLR",
          "CosineAnnealingLR"]  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_epochs_that_are_told(name):
    make, factor = BY_EPOCH[name]
    o = optimizer()
    schedule = make(o)
    o.step()
    for epoch in (7, 3):
        with pytest.warns(UserWarning, match="The epoch parameter in `scheduler.step"):
            schedule.step(epoch)
        assert schedule.get_last_lr()[0] == pytest.approx(2 * factor(epoch))


def test_restarts_may_be_told_parts_of_epochs():
    schedule = schedules.CosineAnnealingWarmRestarts(optimizer(), 2, 2)
    for epoch, part in ((0.5, 0.25), (2, 0), (5.5, 3.5 / 4), (7, 1 / 8)):
        schedule.step(epoch)
        assert schedule.get_last_lr()[0] == pytest.approx(2 * cos(part))
    with pytest.raises(ValueError, match="^Expected non-negative epoch, but got -1$"):
        schedule.step(-1)


def test_resumed_it_goes_on_where_it_was():
    o = optimizer()
    schedule = schedules.ExponentialLR(o, 0.5)
    o.step()
    schedule.step()
    other = schedules.ExponentialLR(o, 0.5, last_epoch=0)
    assert other.last_epoch == 1
    assert other.get_last_lr() == [1.0, 0.25]
    with pytest.raises(KeyError, match=r"param 'initial_lr' is not specified in param_groups\[0\] when resuming"):
        schedules.StepLR(optimizer(), 2, last_epoch=3)


@pytest.mark.parametrize(("make", "read"), [
    (optim.SGD, lambda g: g["momentum"]), (optim.Adam, lambda g: g["betas"][0]),
])  # fmt: skip
def test_momentum_goes_the_other_way(make, read):
    o = optimizer(make=make)
    schedule = schedules.CyclicLR(o, 1, 2, 2, base_momentum=0.5, max_momentum=[0.9, 0.7])
    seen = [[read(g) for g in o.param_groups]]
    for _ in range(3):
        o.step()
        schedule.step()
        seen.append([read(g) for g in o.param_groups])
    np.testing.assert_allclose(seen, [[0.9, 0.7], [0.7, 0.6], [0.5, 0.5], [0.7, 0.6]])
    o = optimizer(make=make)
    schedule = schedules.OneCycleLR(o, 1, 10, pct_start=0.3, anneal_strategy="linear")
    seen = [read(o.param_groups[0])]
    for _ in range(9):
        o.step()
        schedule.step()
        seen.append(read(o.param_groups[0]))
    np.testing.assert_allclose(seen, [0.95, 0.9, *(0.85 + 0.1 * i / 7 for i in range(8))])
    with pytest.raises(ValueError, match="must support momentum or beta1 with `cycle_momentum` option enabled"):
        schedules.CyclicLR(optimizer(make=optim.Adagrad), 1, 2)


def plateau(measures, **options):
    o = optimizer()
    schedule = schedules.ReduceLROnPlateau(o, **options)
    for m in measures:
        schedule.step(m)
    return schedule


@pytest.mark.parametrize(
    ("measures", "options", "rate"),
    [
        ([3, 2, 1, 0], {"patience": 0}, 2),
        ([1, 1], {"patience": 0}, 0.2),
        ([1, 1, 1], {"patience": 2}, 2),
        ([1, 1, 1, 1], {"patience": 2}, 0.2),
        ([1, 0.95, 0.91], {"patience": 1, "threshold": 0.1}, 0.2),
        ([1, 0.95, 0.89], {"patience": 1, "threshold": 0.1}, 2),
        ([10, 9.95, 9.89], {"patience": 1, "threshold": 0.1, "threshold_mode": "abs"}, 2),
        ([1, 2, 3], {"patience": 0, "mode": "max"}, 2),
        ([1, 1.05], {"patience": 0, "mode": "max", "threshold": 0.1, "factor": 0.5}, 1),
        ([1, 1.05], {"patience": 0, "mode": "max", "threshold": 0.01, "threshold_mode": "abs"}, 2),
        ([1] * 5, {"patience": 0, "cooldown": 2, "factor": 0.5}, 0.5),
        ([1] * 6, {"patience": 0, "min_lr": [0.3, 0]}, 0.3),
        ([1] * 6, {"patience": 0, "factor": 0.5, "eps": 0.3}, 0.5),
        ([torch.tensor(1.0), torch.tensor([1.0])], {"patience": 0}, 0.2),
    ],
)
def test_plateaus(measures, options, rate):
    assert plateau(measures, **options).get_last_lr()[0] == pytest.approx(rate)


def test_a_plateau_is_saved_and_loaded():
    schedule = plateau([1, 1], patience=1)
    other = schedules.ReduceLROnPlateau(optimizer(), patience=5)
    other.load_state_dict(schedule.state_dict())
    other.step(1)
    assert other.get_last_lr() == [0.2, 0.05]
    assert not other.in_cooldown


def test_groups_that_came_later():
    schedule = schedules.ReduceLROnPlateau(optimizer(), patience=0, min_lr=[0, 0])
    schedule.optimizer.add_param_group({"params": [torch.tensor(1.0, requires_grad=True)]})
    schedule.step(1)
    with pytest.raises(RuntimeError, match=r"The number of param groups in the `optimizer` \(3\) differs"):
        schedule.step(1)


class Power:
    def __init__(self, base):
        self.base = base

    def __call__(self, t):
        return self.base**t


@pytest.mark.parametrize("make", [
    lambda o, f: schedules.LambdaLR(o, f),
    lambda o, f: schedules.CyclicLR(o, 1, 2, 4, scale_fn=f, cycle_momentum=False),
])  # fmt: skip
def test_callable_objects_are_saved_by_their_attributes(make):
    saved = make(optimizer(), Power(0.5)).state_dict()
    f = Power(0.25)
    make(optimizer(), f).load_state_dict(saved)
    assert f.base == 0.5
    assert make(optimizer(), lambda t: 1).state_dict().get("lr_lambdas", [None]) in ([None], [None, None])


def test_warnings():
    schedule = schedules.StepLR(optimizer(), 2)
    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler.step"):
        schedule.step()
    with pytest.warns(UserWarning, match=r"please use `get_last_lr\(\)`"):
        assert schedule.get_lr() == [2, 0.5]
    o = optimizer()
    schedule = schedules.StepLR(o, 2)
    o.step = lambda: None
    with pytest.warns(UserWarning, match="has been overridden after learning rate scheduler"):
        schedule.step()
    o = optimizer()
    schedule = schedules.StepLR(o, 2)
    with warnings.catch_warnings(record=True) as seen:
        torch.compile(lambda x: o.step())(torch.ones(1))
        schedule.step()
    assert seen == []


def test_a_schedule_of_ones_own():
    class Half(schedules.LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    o = optimizer()
    schedule = Half(o)
    o.step()
    schedule.step()
    assert schedule.get_last_lr() == [1, 0.25]
    assert sorted(schedule.state_dict()) == [
        "_get_lr_called_within_step", "_is_initial", "_last_lr", "_step_count", "base_lrs", "last_epoch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("StepLR(3, 2)", TypeError, "int is not an Optimizer"),
        ("LambdaLR(o, [abs])", ValueError, "Expected 2 lr_lambdas, but got 1"),
        ("MultiplicativeLR(o, 3)", TypeError, "lr_lambda should be a function, but got int"),
        ("ConstantLR(o, 2)", ValueError, "Constant multiplicative factor expected to be between 0 and 1."),
        ("LinearLR(o, 0)", ValueError,
         "Starting multiplicative factor expected to be greater than 0 and less or equal to 1."),
        ("LinearLR(o, 1, 2)", ValueError, "Ending multiplicative factor expected to be between 0 and 1."),
        ("CosineAnnealingWarmRestarts(o, 0)", ValueError, "Expected positive integer T_0, but got 0"),
        ("CosineAnnealingWarmRestarts(o, 1, 0)", ValueError, "Expected integer T_mult >= 1, but got 0"),
        ("CosineAnnealingWarmRestarts(o, 1, 1, 'x')", ValueError,
         "Expected float or int eta_min, but got x of type <class 'str'>"),
        ("CyclicLR(o, [1], 2)", ValueError,
         "base_lr must have the same length as optimizer.param_groups. base_lr has 1 values, param_groups has 2."),
        ("CyclicLR(o, 1, 2, mode='x')", ValueError, "mode is invalid and scale_fn is None"),
        ("OneCycleLR(o, 1)", ValueError, "You must define either total_steps OR (epochs AND steps_per_epoch)"),
        ("OneCycleLR(o, 1, 0)", ValueError, "Expected positive integer total_steps, but got 0"),
        ("OneCycleLR(o, 1, epochs=1.5, steps_per_epoch=2)", ValueError,
         "Expected positive integer epochs, but got 1.5"),
        ("OneCycleLR(o, 1, 5, pct_start=2.0)", ValueError, "Expected float between 0 and 1 pct_start, but got 2.0"),
        ("OneCycleLR(o, 1, 5, anneal_strategy='x')", ValueError,
         "anneal_strategy must be one of 'cos' or 'linear', instead got x"),
        ("ReduceLROnPlateau(o, factor=1)", ValueError, "Factor should be < 1.0."),
        ("ReduceLROnPlateau(o, 'x')", ValueError, "mode x is unknown!"),
        ("ReduceLROnPlateau(o, threshold_mode='x')", ValueError, "threshold mode x is unknown!"),
        ("ReduceLROnPlateau(o, min_lr=[1])", ValueError, "expected 2 min_lrs, got 1"),
        ("SequentialLR(o, [], [])", ValueError,
         "SequentialLR expects at least one scheduler, but got no scheduler."),
        ("ChainedScheduler([])", ValueError,
         "ChainedScheduler expects at least one scheduler to be chained, but got no scheduler."),
        ("SequentialLR(o, [3], [])", TypeError, "SequentialLR at index 0 should have `optimizer` as its attribute."),
        ("SequentialLR(o, [StepLR(o, 1)], [2])", ValueError,
         "Sequential Schedulers expects number of schedulers provided to be one more than the number of milestone "
         "points, but got number of schedulers 1 and the number of milestones to be equal to 1"),
        ("ChainedScheduler([StepLR(o, 1), ReduceLROnPlateau(o)])", ValueError,
         "ChainedScheduler does not support `ReduceLROnPlateau` scheduler as it requires additional kwargs to be "
         "specified when calling `step`, but got one at index 1 in the given schedulers sequence."),
        ("SWALR(o, 1, -1)", ValueError, "anneal_epochs must be equal or greater than 0, got -1"),
        ("SWALR(o, 1, 1, 'x')", ValueError, "anneal_strategy must be one of 'cos' or 'linear', instead got x"),
    ],
)  # fmt: skip
def test_errors(source, error, text):
    with pytest.raises(error) as e:
        eval(source, {**vars(schedules), "SWALR": swa_utils.SWALR, "o": optimizer()})
    assert str(e.value) == text


def test_schedules_of_another_optimizer():
    with pytest.raises(ValueError, match="^SequentialLR expects all schedulers to belong to the same optimizer, but"):
        schedules.SequentialLR(optimizer(), [schedules.StepLR(optimizer(), 1)], [])


def test_more_steps_than_told():
    o = optimizer()
    schedule = schedules.OneCycleLR(o, 1, 2)
    o.step()
    schedule.step()
    schedule.step()
    with pytest.raises(ValueError, match=r"^Tried to step 3 times\. The specified number of total steps is 2$"):
        schedule.step()
