"""Programs through a real socket: what another language would send, and what is wrong with it."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_server.limits import Limits
from tests.server.raw import Raw, apply, put
from tests.server.test_ops import calls, template

FIRST = Limits().max_templates + 1


def program(*instructions, arguments=(), results=(), templates=(), id=FIRST) -> pb.Instruction:
    return pb.Instruction(program=pb.Program(id=id, instructions=instructions, arguments=arguments, results=results,
                                             templates=templates))  # fmt: skip


def backward(*tensors: int) -> pb.Instruction:
    return pb.Instruction(backward=pb.Backward(tensors=tensors))


def grad(output: int, *inputs: int, results) -> pb.Instruction:
    return pb.Instruction(grad=pb.Grad(outputs=[output], inputs=inputs, results=results))


def clear(*tensors: int) -> pb.Instruction:
    return pb.Instruction(set_gradient=pb.SetGradient(tensors=tensors))


def info(raw: Raw, *ids: int) -> list[pb.ProgramInfo]:
    raw.send(pb.Instruction(describe=pb.Describe(request=5, programs=ids)))
    return list(raw.reply("programs").programs)


def descent() -> pb.Instruction:
    """loss = ((w - x) ** 2).sum(); w -= 0.1 * its gradient. ``w`` is 1, ``x`` the argument, the loss the result."""
    return program(
        calls(1, 0, 1, 20, 21, 2, 0, 21, 22, 3, 0, 22, 23),
        clear(1),
        backward(23),
        pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=24)),
        calls(4, 0, 1, 24),
        arguments=[20], results=[23],
        templates=[template(1, "sub", 1, 1), template(2, "pow", 1, 2.0), template(3, "sum", 1),
                   template(4, "sub_", 1, 1, results=0, alpha=0.1, no_grad=True)],
    )  # fmt: skip


def test_step_of_descent(raw):
    raw.send(put(1, [0.0, 0.0], requires_grad=True), put(2, [1.0, 3.0]), descent())
    w = np.zeros(2)
    for i in range(5):
        raw.send(calls(FIRST, 0, 2, 30 + i))
        assert raw.get(30 + i) == pytest.approx(((w - [1, 3]) ** 2).sum())
        w -= 0.2 * (w - [1, 3])
        assert raw.get(1) == pytest.approx(w)
    (told,) = info(raw)
    # With a gradient it is another case than without.
    assert (told.id, told.instructions, told.runs, told.replays, told.unplanned) == (FIRST, 7, 5, 3, "")
    assert [k.op for k in told.kernels][:3] == ["sub", "pow", "sum"]
    assert told.kernels[0].results[0].shape == [2]
    assert all(k.predicted_seconds > 0 for k in told.kernels)
    assert sum(k.measured_seconds for k in told.kernels) > 0


def test_many_calls_in_one_frame_with_other_arguments(raw):
    raw.send(put(1, [0.0], requires_grad=True), put(2, [1.0]), put(3, [-1.0]), descent())
    raw.send(calls(*itertools.chain.from_iterable((FIRST, 0, 2 + i % 2, 30 + i) for i in range(20))))
    w = 0.0
    for i in range(20):
        x = (1.0, -1.0)[i % 2]
        assert raw.get(30 + i) == pytest.approx((w - x) ** 2)
        w -= 0.2 * (w - x)


def test_only_results_are_there_afterwards(raw):
    raw.send(put(1, [2.0]), program(apply("neg", 1, results=(5,)), apply("exp", 5, results=(6,)), results=[6]))
    for i in (10, 11, 12):
        raw.send(calls(FIRST, 0, i))
        assert raw.get(i) == pytest.approx(np.exp(-2.0))
    assert "tensor id 5 is unknown" in raw.error(5).message


def test_what_it_refers_to_it_keeps(raw):
    raw.send(put(1, [2.0]), program(apply("neg", 1, results=(5,)), results=[5]),
             pb.Instruction(free=pb.Free(tensors=[1])))  # fmt: skip
    for i in (10, 11, 12):
        raw.send(calls(FIRST, 0, i))
        assert raw.get(i) == [-2.0]


def test_results_with_a_live_graph_are_made_one_by_one(raw):
    raw.send(put(1, [3.0], requires_grad=True), program(apply("mul", 1, 1, results=(5,)), results=[5]))
    for i in (10, 11):
        raw.send(calls(FIRST, 0, i), grad(i, 1, results=[i + 10]))
        assert raw.get(i + 10) == [6.0]
    (told,) = info(raw, FIRST)
    assert told.unplanned == "a tensor that it makes can still be differentiated"
    assert (told.runs, told.replays) == (2, 0)


def test_gradients_with_and_without_have_plans_of_their_own(raw):
    raw.send(put(1, [3.0], requires_grad=True), program(apply("mul", 1, 1, results=(5,)), backward(5)))
    for n in (1, 2, 3, 4):
        raw.send(calls(FIRST, 0), pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=20 + n)))
        assert raw.get(20 + n) == [6.0 * n]
    raw.send(clear(1), calls(FIRST, 0), pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=30)))
    assert raw.get(30) == [6.0]
    assert info(raw)[0].replays == 3


def test_random_numbers_are_the_sessions(address):
    made = []
    for planned in (False, True):
        raw = Raw(address, seed=7)
        raw.send(put(1, np.full(20, 0.5)), program(apply("bernoulli", 1, results=(5,)), results=[5]))
        for i in range(10, 14):
            raw.send(calls(FIRST, 0, i) if planned else apply("bernoulli", 1, results=(i,)))
        made.append([raw.get(i).tolist() for i in range(10, 14)])
        raw.close()
    assert made[0] == made[1]
    assert len(set(map(tuple, made[0]))) == 4


def test_grad_mode_is_on_within_and_as_it_was_afterwards(raw):
    off = pb.Instruction(set_grad_mode=pb.SetGradMode(enabled=False))
    raw.send(
        put(1, [3.0], requires_grad=True),
        program(apply("mul", 1, 1, results=(5,)), off, apply("mul", 1, 1, results=(6,)), results=[5, 6]),
        off, calls(FIRST, 0, 10, 11), apply("mul", 1, 1, results=(12,)),
        *(pb.Instruction(inspect=pb.Inspect(tensor=i, request=i)) for i in (10, 11, 12)),
    )  # fmt: skip
    assert [raw.reply("history").requires_grad for _ in range(3)] == [True, False, False]


def test_a_gradient_that_is_not_wanted(raw):
    raw.send(put(1, [3.0], requires_grad=True), put(2, [2.0], requires_grad=True), apply("mul", 1, 2, results=(3,)),
             grad(3, 1, 2, results=[0, 4]))  # fmt: skip
    assert raw.get(4) == [3.0]


def test_failure_poisons_what_comes_of_it(raw):
    def index(i: int, value: int) -> pb.Instruction:
        data = pb.TensorData(dtype=pb.DTYPE_INT64, shape=[1], data=value.to_bytes(8, "little"))
        return pb.Instruction(put=pb.Put(result=i, data=data))

    select = pb.Apply(op="index_select", results=[5])
    select.arguments.add(tensor=1)
    select.arguments.add(int_value=0)
    select.arguments.add(tensor=20)
    raw.send(put(1, [4.0, 5.0]), index(2, 0), index(3, 9), put(4, [0.0]),
             program(pb.Instruction(apply=select, location=1), apply("add_", 4, 5), arguments=[20], results=[5]),
             locations=[pb.Location(id=1, file="step.py", line=3)])  # fmt: skip
    for i in (10, 11):
        raw.send(calls(FIRST, 0, 2, i))
        assert raw.get(i) == [4.0]
    raw.send(calls(FIRST, 0, 3, 12))
    error = raw.error(12)
    assert (error.type, error.op, error.location.line) == ("IndexError", "index_select", 3)
    assert raw.error(4).type == "IndexError"  # it would have been written to
    raw.send(calls(FIRST, 0, 2, 13))
    assert raw.error(13).type == "IndexError"


def test_memory_is_counted_and_given_back(raw):
    raw.send(put(1, np.ones(1_000_000)),
             program(apply("exp", 1, results=(5,)), apply("flip", 5, [0], results=(6,)), apply("sum", 6, results=(7,)),
                     results=[7]))  # fmt: skip
    for i in (10, 11):
        raw.send(calls(FIRST, 0, i))
        assert raw.get(i) == pytest.approx(np.e * 1e6)
    (told,) = info(raw)
    assert told.bytes >= 8_000_000
    most = [20 + i for i in range(6)]
    for i in most:
        raw.send(put(i, np.ones(1_000_000)))
    assert raw.error(most[-1]).type == "OutOfMemoryError"
    raw.send(pb.Instruction(free=pb.Free(programs=[FIRST], tensors=most[-1:])))
    raw.send(put(most[-1], np.ones(1_000_000)), apply("sum", most[-1], results=(40,)))
    assert raw.get(40) == 1e6
    assert info(raw) == []


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (program(apply("neg", 99, results=(5,))), "tensor id 99 is unknown"),
        (program(apply("neg", 1, results=(5,)), apply("exp", 1, results=(5,))), "tensor id 5 is made twice"),
        (program(apply("neg", 1, results=(1,))), "tensor id 1 is made twice"),
        (program(arguments=[20, 20]), "arguments must be ids that differ"),
        (program(pb.Instruction(get=pb.Get(tensor=1, request=1))), "get can't be part of a program"),
        (program(pb.Instruction(backward=pb.Backward(tensors=[1], request=3))), "backward can't be part of a program"),
        (program(calls(FIRST, 0)), f"template {FIRST} is unknown"),
        (program(pb.Instruction(put=pb.Put(result=5, upload=1))), "holds its bytes itself"),
        (program(pb.Instruction(require_grad=pb.RequireGrad(tensor=1, retain=True))), "retain its gradient"),
        (program(pb.Instruction()), "an unknown instruction can't be part"),
    ],
)
def test_what_can_not_be_defined(raw, made, text):
    made.program.results.append(5)
    raw.send(put(1, [1.0]), made)
    assert text in raw.reply("error").message
    raw.send(calls(FIRST, 0, *([1] * len(made.program.arguments)), 9))
    assert text in raw.error(9).message
    assert text in info(raw)[0].unplanned


@pytest.mark.parametrize("id", [0, 5, FIRST - 1, FIRST + Limits().max_programs])
def test_ids_are_above_those_of_templates(raw, id):
    raw.send(program(id=id))
    assert f"program id {id} is out of range: from {FIRST} to" in raw.reply("error").message


def test_a_result_that_is_not_made(raw):
    raw.send(put(1, [1.0]), put(2, [1.0, 2.0, 3.0]), put(3, [1.0, 2.0]),
             program(apply("add", 2, 3, results=(5,)), apply("neg", 1, results=(6,)), results=[5, 6]))  # fmt: skip
    raw.send(calls(FIRST, 0, 10, 11))
    assert raw.get(11) == [-1.0]
    assert "must match the size" in raw.error(10).message


def test_ids_of_results_are_checked(raw):
    raw.send(put(1, [1.0]), program(apply("neg", 1, results=(5,)), results=[5]), calls(FIRST, 0, 1))
    assert "already in use" in raw.reply("error").message


def test_hooks_run_in_the_client(raw):
    """A program that a hook is part of is run instruction by instruction, and its client's code as ever."""
    raw.send(put(1, [3.0], requires_grad=True), pb.Instruction(add_hook=pb.AddHook(tensor=1, hook=9)),
             program(apply("mul", 1, 1, results=(5,)), backward(5)), calls(FIRST, 0), received=1)  # fmt: skip
    callback = raw.reply("callback")
    raw.send(apply("mul", callback.gradients[0], 10.0, results=(50,)),
             pb.Instruction(answer=pb.Answer(callback=callback.id, results=[50])), received=100)  # fmt: skip
    raw.send(pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=60)))
    assert raw.get(60) == [60.0]
    assert info(raw)[0].unplanned == "a hook is part of it"


def test_hooks_of_a_leafs_node_that_come_later(raw):
    """There is a plan by then, which can't call back."""
    raw.send(put(1, [3.0], requires_grad=True), put(2, [0.0]), pb.Instruction(edge=pb.Edge(tensor=1, result=3)),
             pb.Instruction(set_gradient=pb.SetGradient(tensors=[1], gradient=2)),
             program(apply("mul", 1, 1, results=(5,)), backward(5)), calls(FIRST, 0, FIRST, 0))  # fmt: skip
    assert info(raw)[0].replays > 0
    hook = pb.AddHook(tensor=3, hook=9, place=pb.HOOK_PLACE_BEFORE_NODE)
    raw.send(pb.Instruction(add_hook=hook), calls(FIRST, 0), received=1)
    callback = raw.reply("callback")
    raw.send(apply("mul", callback.gradients[0], 10.0, results=(50,)),
             pb.Instruction(answer=pb.Answer(callback=callback.id, results=[50])), received=100)  # fmt: skip
    raw.send(pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=60)))
    assert raw.get(60) == [6 + 6 + 60]


def test_nan_is_looked_for_each_time(raw):
    """d√x/dx · 0 at 0 is NaN. A plan could not look, so the program is run one by one."""
    wanted = pb.Instruction(grad=pb.Grad(outputs=[22], inputs=[20], results=[23], check_nan=True), location=3)
    root = calls(1, 4, 20, 21, 2, 5, 21, 22)
    raw.send(program(pb.Instruction(require_grad=pb.RequireGrad(tensor=20, value=True)), root, wanted,
                     arguments=[20], results=[23],
                     templates=[template(1, "sqrt", 1), template(2, "mul", 1, 0.0)]),
             locations=[pb.Location(id=4, file="a.py", line=40)])  # fmt: skip
    for i, x in enumerate([4.0, 0.0, 9.0, 0.0]):
        raw.send(put(100 + i, x), calls(FIRST, 0, 100 + i, 200 + i))
        if x:
            assert raw.get(200 + i) == 0
        else:
            e = raw.error(200 + i)
            assert e.message == "Function 'SqrtBackward0' returned nan values in its 0th output."
            assert (e.node, e.location.id, e.location.line) == ("SqrtBackward0", 4, 40)
    assert info(raw)[0].unplanned == "it looks for NaN in backward"


def test_replays_are_timed(service, raw):
    raw.send(put(1, np.ones((50, 50))), program(apply("mm", 1, 1, results=(5,)), results=[5]))
    before = replayed(service).get("mm", 0)
    raw.send(calls(*itertools.chain.from_iterable((FIRST, 0, i) for i in range(10, 20))))
    assert raw.get(19)[0, 0] == 50
    assert replayed(service)["mm"] == before + 9
    (programs,) = [m for m in service.metrics.registry.collect() if m.name == "gradwire_programs"]
    assert programs.samples[0].value >= 1


def replayed(service) -> dict[str, float]:
    """How often each kernel was replayed."""
    (family,) = service.metrics.kernels.collect()
    return {s.labels["op"]: s.value for s in family.samples
            if s.name.endswith("_count") and s.labels["phase"] == "replay"}  # fmt: skip


def test_a_program_that_takes_too_long(service, address):
    raw = Raw(address)
    session = service.sessions[raw.key.session_id]
    session.brake._seconds = 0.0
    steps = [apply("mm", 1 if i == 10 else i, 1, results=(i + 1,)) for i in range(10, 400)]
    raw.send(put(1, np.eye(200)), program(*steps, results=[400]))
    raw.send(calls(FIRST, 0, 1000))
    raw.send(calls(FIRST, 0, 1001))
    end = time.monotonic() + 20
    while session.engine.halt is None and time.monotonic() < end:
        session.brake.watch()
    assert "took longer than the limit of 0 seconds" in raw.error(1001).message
    raw.close()
