"""The graph over the wire: hooks around nodes, edges as tensors, and saved tensors that the client keeps."""

from __future__ import annotations

from typing import Any

from gradwire_proto.v1 import gradwire_pb2 as pb
from tests.server.raw import Raw, apply, put


def add_hook(tensor: int, hook: int, place: Any) -> pb.Instruction:
    return pb.Instruction(add_hook=pb.AddHook(tensor=tensor, hook=hook, place=place))


def backward(tensor: int, request: int = 9, **options: Any) -> pb.Instruction:
    return pb.Instruction(backward=pb.Backward(tensors=[tensor], request=request, **options))


def answer(call: pb.Callback, *results: int) -> pb.Instruction:
    return pb.Instruction(answer=pb.Answer(callback=call.id, results=results))


def free(*tensors: int) -> pb.Instruction:
    return pb.Instruction(free=pb.Free(tensors=tensors))


def history(raw: Raw, tensor: int, edge: int = 0) -> pb.History:
    raw.send(pb.Instruction(inspect=pb.Inspect(tensor=tensor, request=5, max_nodes=10, edge=edge)))
    return raw.reply("history")


def gradient(raw: Raw, tensor: int, name: int) -> list[float]:
    raw.send(pb.Instruction(get_gradient=pb.GetGradient(tensor=tensor, result=name)))
    return raw.get(name).tolist()


def dropped(raw: Raw) -> list[int]:
    """What the server has told is gone by the next answer."""
    raw.send(pb.Instruction(synchronize=pb.Synchronize(request=77)))
    found: list[int] = []
    for r in raw.replies:
        found += r.dropped
        if r.WhichOneof("kind") is not None:
            return found
    raise AssertionError("the stream ended")


def test_hooks_around_a_node(raw):
    raw.send(put(1, [1.0, 2.0], True), apply("mul", 1, 3.0, results=(2,)), apply("sum", 2, results=(3,)),
             add_hook(2, 4, pb.HOOK_PLACE_BEFORE_NODE), add_hook(2, 5, pb.HOOK_PLACE_AFTER_NODE))  # fmt: skip
    raw.send(backward(3))
    before = raw.reply("callback")
    assert (before.hook, before.inputs, len(before.gradients), before.backward) == (4, 1, 1, 1)
    raw.send(apply("mul", before.gradients[0], 10.0, results=(6,)), answer(before, 6))
    after = raw.reply("callback")
    assert (after.hook, after.inputs) == (5, 2)
    assert [bool(i) for i in after.gradients] == [True, False, True]  # of the inputs, of which 3.0 has none; then given
    assert raw.get(after.gradients[0]).tolist() == [30, 30]
    assert raw.get(after.gradients[2]).tolist() == [10, 10]
    raw.send(answer(after))
    assert raw.reply("done").request == 9
    assert gradient(raw, 1, 7) == [30, 30]


def test_which_pass_runs_what(raw):
    raw.send(put(1, [1.0], True), apply("mul", 1, 3.0, results=(2,)), apply("mul", 1, 5.0, results=(3,)),
             add_hook(1, 11, pb.HOOK_PLACE_GRADIENT), add_hook(2, 12, pb.HOOK_PLACE_GRADIENT),
             add_hook(3, 13, pb.HOOK_PLACE_GRADIENT))  # fmt: skip
    for number, (root, hook) in enumerate([(2, 12), (3, 13)], 1):
        raw.send(backward(root))
        call = raw.reply("callback")
        assert (call.hook, call.backward) == (hook, number)
        raw.send(pb.Instruction(will_run=pb.WillRun(hooks=[11, 12, 13, 14], request=8)))
        assert list(raw.reply("done").defined) == [True, hook == 12, hook == 13, False]
        raw.send(answer(call))
        raw.send(answer(raw.reply("callback")))  # the leaf's
        assert raw.reply("done").request == 9


def test_hooks_are_gone_with_the_graph(raw, service):
    raw.send(put(1, [1.0], True), apply("mul", 1, 3.0, results=(2,)), add_hook(2, 4, pb.HOOK_PLACE_GRADIENT),
             add_hook(2, 5, pb.HOOK_PLACE_AFTER_NODE), add_hook(1, 6, pb.HOOK_PLACE_ACCUMULATED))  # fmt: skip
    assert dropped(raw) == []
    raw.send(free(2))
    assert sorted(dropped(raw)) == [4, 5]
    raw.send(pb.Instruction(remove_hook=pb.RemoveHook(hook=6)), pb.Instruction(remove_hook=pb.RemoveHook(hook=4)))
    assert dropped(raw) == [6]
    assert not service.sessions[raw.key.session_id].hooks


def test_nodes_and_edges(raw):
    raw.send(put(1, [[1.0, 2.0]], True), apply("mul", 1, 1, results=(2,)), apply("unbind", 2, results=(3,)))
    told = history(raw, 3, edge=10)
    assert told.output == 0
    unbind, mul, leaf = told.nodes
    assert [n.name for n in told.nodes] == ["UnbindBackward0", "MulBackward0", "torch::autograd::AccumulateGrad"]
    assert [(e.node, e.output) for e in mul.edges] == [(leaf.id, 0)] * 2
    assert ([list(o.shape) for o in mul.outputs], leaf.variable) == ([[1, 2]], 1)
    raw.send(free(2, 3))  # the edge keeps the graph
    raw.send(pb.Instruction(edge=pb.Edge(node=mul.id, result=11)), put(20, [[1.0, 1.0]]),
             pb.Instruction(edge=pb.Edge(tensor=1, result=12)),
             pb.Instruction(grad=pb.Grad(outputs=[11], inputs=[12], gradients=[20], results=[21])))  # fmt: skip
    assert raw.get(21).tolist() == [[2, 4]]
    raw.send(pb.Instruction(edge=pb.Edge(node=unbind.id, output=1, result=13)))
    assert raw.error(13).message == f"there is no node {unbind.id} with an output 1"


def test_saved_tensors_that_the_client_keeps(raw):
    raw.send(put(1, [1.0, 2.0], True), put(2, [3.0, 4.0]), apply("mul", 1, 2, results=(3,)),
             apply("exp", 3, results=(4,)), pb.Instruction(pack=pb.Pack(tensor=3, number=40, request=5)),
             pb.Instruction(pack=pb.Pack(tensor=4, number=41)), apply("sum", 4, results=(6,)))  # fmt: skip
    assert [(t.WhichOneof("kind"), t.input) for t in raw.reply("saved").tensors] == [("input", 1)]
    raw.send(free(2, 3), backward(6))
    call = raw.reply("callback")
    assert (call.WhichOneof("kind"), call.pack, len(call.gradients)) == ("pack", 41, 0)
    raw.send(put(30, [1.0, 10.0]), answer(call, 30))
    call = raw.reply("callback")
    assert call.pack == 40
    raw.send(put(31, [5.0, 6.0]), answer(call, 31))
    assert raw.reply("done").request == 9
    assert gradient(raw, 1, 7) == [5, 60]


def test_what_was_packed_is_gone_with_the_graph(raw):
    raw.send(put(1, [1.0], True), apply("exp", 1, results=(2,)), pb.Instruction(pack=pb.Pack(tensor=2, number=40)),
             apply("add", 1, 1, results=(3,)), pb.Instruction(pack=pb.Pack(tensor=3, number=41)))  # fmt: skip
    assert dropped(raw) == [41]  # it saves nothing
    raw.send(free(2))
    assert dropped(raw) == [40]


def test_a_copy_of_what_is_overwritten_is_lent(raw):
    raw.send(put(1, [2.0], True), apply("mul", 1, 1.0, results=(2,)), apply("pow_", 2, 3.0),
             pb.Instruction(pack=pb.Pack(tensor=2, number=40, written=True, request=5)))  # fmt: skip
    (saved,) = raw.reply("saved").tensors
    assert saved.WhichOneof("kind") == "tensor"
    assert list(saved.spec.shape) == [1]
    assert raw.get(saved.tensor).tolist() == [2]
    raw.send(backward(2))
    raw.send(answer(raw.reply("callback"), saved.tensor))
    assert raw.reply("done").request == 9
    assert gradient(raw, 1, 7) == [12]


def test_a_client_that_gives_nothing_back(raw):
    raw.send(put(1, [2.0], True), apply("exp", 1, results=(2,)), pb.Instruction(pack=pb.Pack(tensor=2, number=40)))
    raw.send(backward(2))
    raw.send(answer(raw.reply("callback"), 0))
    assert raw.reply("error").message == "the client gave back 0 of the saved tensors, and not all"


def test_a_node_by_itself(raw):
    raw.send(put(1, [1.0, 2.0], True), apply("mul", 1, 3.0, results=(2,)), apply("exp", 2, results=(3,)))
    raw.send(put(9, [1.0, 10.0]))
    exp, mul, _ = history(raw, 3).nodes
    assert (list(exp.saved), list(mul.saved)) == (["result"], ["other"])
    raw.send(pb.Instruction(run_node=pb.RunNode(node=mul.id, gradients=[9], results=[20, 21], request=5)))
    assert list(raw.reply("done").defined) == [True, False]
    assert raw.get(20).tolist() == [3, 30]
    raw.send(pb.Instruction(run_node=pb.RunNode(node=mul.id, results=[22, 23], request=6)))
    assert raw.reply("error").message == "expected 1 arguments, got 0 instead"
    raw.send(pb.Instruction(run_node=pb.RunNode(node=12345, gradients=[9], results=[24], request=7)))
    assert raw.reply("error").message == "there is no node 12345"
    raw.send(pb.Instruction(unpack=pb.Unpack(node=mul.id, name="other", request=8)))
    assert raw.reply("unpacked").value.float_value == 3
    raw.send(pb.Instruction(unpack=pb.Unpack(node=exp.id, name="result", request=8)))
    (result,) = raw.reply("unpacked").tensors
    assert (result.requires_grad, result.leaf) == (True, False)
    assert raw.get(result.tensor).tolist() == raw.get(3).tolist()
    raw.send(pb.Instruction(unpack=pb.Unpack(node=exp.id, name="input", request=8)))
    assert raw.reply("error").message == "ExpBackward0 saved nothing that is called 'input'"
