"""The contract through a real socket, by the stubs alone: work, bad input, and that the session goes on after it."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from gradwire_proto.v1 import gradwire_pb2 as pb
from tests.server.raw import Raw, apply, put


def works(raw: Raw, at: int = 500) -> bool:
    """Whether the session still does what it should."""
    raw.send(put(at, [1.0, 2.0]), apply("add", at, at, results=(at + 1,)))
    return raw.get(at + 1).tolist() == [2.0, 4.0]


def test_gradient_of_a_cube(raw):
    raw.send(
        put(1, [-3.0, 2.0, 5.0], requires_grad=True),
        apply("pow", 1, 3.0, results=(2,)),
        apply("sum", 2, results=(3,)),
        pb.Instruction(backward=pb.Backward(tensors=[3])),
        pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=4)),
    )
    assert raw.get(4).tolist() == [27.0, 12.0, 75.0]


def test_frames_are_acknowledged(raw):
    raw.send(put(1, [1.0]))
    assert next(raw.replies).acknowledged == 1
    raw.send(put(2, [1.0]))
    assert next(raw.replies).acknowledged == 2


def test_grad_answers_which_results_exist(raw):
    raw.send(put(1, 2.0, True), put(2, 3.0, True), apply("mul", 1, 1, results=(3,)))
    raw.send(pb.Instruction(grad=pb.Grad(outputs=[3], inputs=[1, 2], results=[4, 5], allow_unused=True, request=7)))
    assert list(raw.reply("done").defined) == [True, False]
    assert raw.get(4) == 4.0


def test_keyword_arguments_and_lists(raw):
    raw.send(put(1, [[1.0, 2.0], [3.0, 4.0]]), apply("sum", 1, results=(2,), dim=[0]))
    assert raw.get(2).tolist() == [4.0, 6.0]
    many = pb.Argument(tensors=pb.Tensors(ids=[1, 1]))
    raw.send(apply("cat", many, results=(3,)))
    assert raw.get(3).shape == (4, 2)


def test_repeated_frames_are_dropped_and_gaps_refused(raw):
    raw.send(put(1, [1.0]))
    raw.seq = 0
    raw.send(put(1, [5.0]))  # frame 1 once more
    raw.seq = 4
    raw.send(put(2, [1.0]))
    assert "frame 5 came after frame 1" in raw.reply("error").message
    raw.seq = 1
    assert raw.get(1).tolist() == [1.0]


def test_unknown_op(raw):
    raw.send(apply("frobnicate", results=(1,)))
    e = raw.error(1)
    assert (e.type, e.message) == ("NotImplementedError", "no op is called 'frobnicate'; ListOps tells the catalog")
    assert works(raw)


@pytest.mark.parametrize(
    ("instruction", "kind", "text"),
    [
        (apply("add", 1, results=(9,)), "TypeError", "add() missing 1 required positional arguments"),
        (apply("exp", 1, 1, 1, results=(9,)), "TypeError", "exp() takes 1 positional argument but 3"),
        (apply("exp", 2.0, results=(9,)), "TypeError", "exp(): argument 'input' (position 1) must be Tensor, not"),
        (apply("sum", 1, results=(9,), depth=2.0), "TypeError", "sum() got an unexpected keyword argument 'depth'"),
        (apply("sum", 1, [5], results=(9,)), "IndexError", "Dimension out of range"),
        (apply("exp", 77, results=(9,)), "ValueError", "tensor id 77 is unknown in this session"),
        (apply("add", 1, 3, results=(9,)), "RuntimeError", "The size of tensor a (2) must match the size of tensor b"),
        (apply("add", 1, 1, results=(9, 10)), "ValueError", "add makes 1 tensors, got 2 ids for them"),
    ],
)
def test_bad_arguments_poison_the_result(raw, instruction, kind, text):
    raw.send(put(1, [1.0, 2.0]), put(3, [1.0, 2.0, 3.0]), instruction)
    e = raw.error(9)
    assert e.type == kind
    assert text in e.message
    assert works(raw)


def test_an_id_in_use_keeps_its_tensor(raw):
    raw.send(put(1, [1.0, 2.0]), apply("add", 1, 1, results=(1,)))
    assert raw.reply("error").message == "tensor id 1 is already in use"
    assert raw.get(1).tolist() == [1.0, 2.0]


def test_ids_of_the_server_are_refused(raw):
    raw.send(put((1 << 63) + 5, [1.0]))
    assert "out of range" in raw.reply("error").message
    raw.send(put(0, [1.0]))
    assert "out of range" in raw.reply("error").message


def test_poison_carries_the_root_cause(raw):
    raw.send(
        put(1, [1.0, 2.0]),
        put(2, [1.0, 2.0, 3.0]),
        pb.Instruction(apply=apply("add", 1, 2, results=(3,)).apply, location=1),
        apply("exp", 3, results=(4,)),
        apply("neg", 4, results=(5,)),
        locations=[pb.Location(id=1, file="train.py", line=12)],
    )
    e = raw.error(5)
    assert (e.op, list(e.arguments)) == ("add", ["float64[2]", "float64[3]"])
    assert (e.location.file, e.location.line) == ("train.py", 12)


def test_a_failed_write_poisons_what_it_would_have_written_and_its_views(raw):
    raw.send(put(1, [1.0, 2.0]), put(2, [1.0, 2.0, 3.0]), apply("view", 1, [2, 1], results=(3,)))
    raw.send(apply("add_", 1, 2))
    assert "doesn't match the broadcast shape" in raw.error(3).message or "must match" in raw.error(3).message


def test_tensors_of_another_session(raw, address):
    other = Raw(address)
    other.send(put(1, [1.0]))
    raw.send(apply("exp", 1, results=(2,)))
    assert raw.error(2).message == "tensor id 1 is unknown in this session"
    other.close()


def test_ten_terabytes(raw):
    size = pb.Argument(ints=pb.Ints(values=[10 * 2**40 // 4]))
    dtype = pb.Argument(dtype=pb.DTYPE_FLOAT32)
    raw.send(apply("full", size, 0.0, results=(1,), dtype=dtype))
    e = raw.error(1)
    assert e.type == "OutOfMemoryError"
    assert "Tried to allocate 10.00 TiB. The session has a limit of 64.00 MiB" in e.message
    assert works(raw)


def test_a_size_beyond_all_memory(raw):
    size = pb.Argument(ints=pb.Ints(values=[2**40, 2**40]))
    raw.send(apply("full", size, 0.0, results=(1,), dtype=pb.Argument(dtype=pb.DTYPE_FLOAT32)))
    assert raw.error(1).type == "RuntimeError"


def test_nan_where_an_index_is_wanted(raw):
    raw.send(put(1, [1.0, 2.0]), put(2, [float("nan")]))
    dim = pb.Argument(int_value=0)
    raw.send(apply("index_select", 1, dim, 2, results=(3,)))
    assert raw.error(3).type in ("RuntimeError", "IndexError")
    assert works(raw)


def test_bytes_that_do_not_fit_the_shape(raw):
    data = pb.TensorData(dtype=pb.DTYPE_FLOAT32, shape=[3], data=b"1234")
    raw.send(pb.Instruction(put=pb.Put(result=1, data=data)))
    assert raw.error(1).message == "float32[3] takes 12 bytes, got 4"
    raw.send(pb.Instruction(put=pb.Put(result=2, data=pb.TensorData(shape=[1]))))
    assert raw.error(2).message == "unknown dtype number 0"


def test_a_frame_that_is_not_parseable(raw, address):
    raw.frames.put(None)
    stream = raw.channel.stream_stream("/gradwire.v1.Gradwire/Stream")
    frames = [pb.Frame(attach=raw.key).SerializeToString(), b"\xff\xff\xff not a frame",
              pb.Frame(seq=1, instructions=[put(1, [1.0])]).SerializeToString()]  # fmt: skip
    replies = [pb.Reply.FromString(r) for r in stream(iter(frames), timeout=20)]
    assert replies[0].HasField("attached")
    assert "not parseable as gradwire.v1.Frame" in replies[1].error.message
    assert replies[2].acknowledged == 1


def test_an_instruction_of_no_known_kind(raw):
    raw.send(pb.Instruction())
    assert "without a kind" in raw.reply("error").message
    assert works(raw)


def test_an_answer_nobody_asked_for(raw):
    raw.send(pb.Instruction(answer=pb.Answer(callback=3)))
    assert "was not asked for" in raw.reply("error").message
    assert works(raw)


@pytest.mark.parametrize("secret", ["", "guess"])
def test_a_wrong_secret(raw, address, secret):
    key = pb.SessionKey(session_id=raw.key.session_id, secret=secret)
    with pytest.raises(grpc.RpcError) as e:
        raw.stub.CloseSession(pb.CloseSessionRequest(key=key), timeout=20)
    assert e.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.RpcError) as e:
        next(raw.stub.Stream(iter([pb.Frame(attach=key)]), timeout=20))
    assert e.value.code() is grpc.StatusCode.NOT_FOUND
    assert works(raw)


def test_a_session_that_is_not_there(raw):
    key = pb.SessionKey(session_id="nowhere", secret="x")
    with pytest.raises(grpc.RpcError) as e:
        raw.stub.CloseSession(pb.CloseSessionRequest(key=key), timeout=20)
    assert "no session 'nowhere' with this secret" in e.value.details()


def test_a_first_frame_without_a_session(raw):
    with pytest.raises(grpc.RpcError) as e:
        next(raw.stub.Stream(iter([pb.Frame(seq=1)]), timeout=20))
    assert e.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert e.value.details().startswith("attach: ")


def test_a_protocol_version_it_does_not_speak(raw):
    with pytest.raises(grpc.RpcError) as e:
        raw.stub.OpenSession(pb.OpenSessionRequest(protocol_version=99), timeout=20)
    assert e.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_device_it_does_not_have(raw):
    with pytest.raises(grpc.RpcError) as e:
        raw.stub.OpenSession(pb.OpenSessionRequest(protocol_version=1, device="tpu"), timeout=20)
    assert e.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "tpu" in e.value.details()


def test_a_session_too_many(address, service):
    clients = [Raw(address) for _ in range(service.max_sessions)]
    with pytest.raises(grpc.RpcError) as e:
        Raw(address)
    assert e.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for c in clients:
        c.close()


def test_reattaching_goes_on_where_it_was(raw):
    raw.send(put(1, [1.0, 2.0]))
    next(raw.replies)
    raw.frames.put(None)
    assert raw.attach().last_seq == 1
    assert raw.get(1).tolist() == [1.0, 2.0]


def test_upload_and_download(raw):
    a = np.arange(200_000, dtype="f8")
    header = pb.UploadRequest(header=pb.UploadHeader(key=raw.key, upload=1, nbytes=a.nbytes))
    whole = a.tobytes()
    chunks = [pb.UploadRequest(data=whole[i : i + 2**20]) for i in range(0, len(whole), 2**20)]
    said = [r.received for r in raw.stub.Upload(iter([header, *chunks]), timeout=20)]
    assert said == [0, a.nbytes]
    raw.send(pb.Instruction(put=pb.Put(result=1, upload=1,
                                       data=pb.TensorData(dtype=pb.DTYPE_FLOAT64, shape=a.shape))))  # fmt: skip
    raw.send(pb.Instruction(get=pb.Get(tensor=1, request=5)))
    value = raw.reply("value")
    parts = list(raw.stub.Download(pb.DownloadRequest(key=raw.key, download=value.download, offset=8), timeout=20))
    np.testing.assert_array_equal(np.frombuffer(b"".join(p.data for p in parts), "f8"), a[1:])


@pytest.mark.parametrize(
    ("nbytes", "data", "code"),
    [
        (2**40, b"", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (8, b"123", grpc.StatusCode.INVALID_ARGUMENT),
        (2, b"123", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_uploads_that_do_not_fit(raw, nbytes, data, code):
    header = pb.UploadRequest(header=pb.UploadHeader(key=raw.key, upload=2, nbytes=nbytes))
    with pytest.raises(grpc.RpcError) as e:
        list(raw.stub.Upload(iter([header, pb.UploadRequest(data=data)]), timeout=20))
    assert e.value.code() is code
    raw.send(pb.Instruction(put=pb.Put(result=1, upload=2, data=pb.TensorData(dtype=1, shape=[nbytes]))))
    assert raw.error(1).message == "upload 2 is unknown in this session, or not complete"


def test_an_upload_goes_on_where_it_broke(raw):
    header = pb.UploadRequest(header=pb.UploadHeader(key=raw.key, upload=3, nbytes=8))
    whole = np.array([1.5]).tobytes()
    with pytest.raises(grpc.RpcError):
        list(raw.stub.Upload(iter([header, pb.UploadRequest(data=whole[:3])]), timeout=20))
    rest = pb.UploadRequest(data=whole[3:])
    assert [r.received for r in raw.stub.Upload(iter([header, rest]), timeout=20)] == [3, 8]
    raw.send(pb.Instruction(put=pb.Put(result=1, upload=3, data=pb.TensorData(dtype=pb.DTYPE_FLOAT64))))
    assert raw.get(1) == 1.5


def test_hooks_call_back_and_may_change_the_gradient(raw):
    raw.send(
        put(1, [1.0, 2.0], True),
        apply("mul", 1, 2.0, results=(2,)),
        apply("sum", 2, results=(3,)),
        pb.Instruction(add_hook=pb.AddHook(tensor=2, hook=44)),
        pb.Instruction(backward=pb.Backward(tensors=[3], request=1)),
    )
    call = raw.reply("callback")
    assert call.hook == 44
    raw.send(
        apply("mul", call.gradients[0], 10.0, results=(9,)),
        pb.Instruction(answer=pb.Answer(callback=call.id, results=[9])),
    )
    assert raw.reply("done").request == 1
    raw.send(pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=10)))
    assert raw.get(10).tolist() == [20.0, 20.0]


def test_a_callback_that_fails_ends_the_backward(raw):
    raw.send(put(1, 1.0, True), apply("exp", 1, results=(2,)), pb.Instruction(add_hook=pb.AddHook(tensor=2, hook=4)))
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[2], request=1)))
    call = raw.reply("callback")
    raw.send(pb.Instruction(answer=pb.Answer(callback=call.id, error="ZeroDivisionError: division by zero")))
    assert raw.reply("error").message == "ZeroDivisionError: division by zero"
    assert works(raw)


def test_a_callback_survives_its_stream(raw):
    raw.send(put(1, 1.0, True), apply("exp", 1, results=(2,)), pb.Instruction(add_hook=pb.AddHook(tensor=2, hook=4)))
    raw.send(pb.Instruction(backward=pb.Backward(tensors=[2], request=1)))
    call = raw.reply("callback")
    raw.frames.put(None)
    assert raw.attach().last_seq == 2
    assert raw.reply("callback") == call  # it was not said to have been received
    raw.send(pb.Instruction(answer=pb.Answer(callback=call.id, results=[0])))
    assert raw.reply("done").request == 1
    assert works(raw)


def test_replies_are_repeated_until_they_are_received(raw):
    raw.send(put(1, [1.0]), pb.Instruction(get=pb.Get(tensor=1, request=7)))
    first = next(raw.replies)
    assert (first.seq, first.acknowledged, first.value.request) == (1, 1, 7)
    raw.attach()
    assert next(raw.replies).value == first.value
    raw.attach(received=1)
    assert raw.get(1).tolist() == [1.0]


def test_a_newer_stream_fences_off_the_older_one(raw):
    raw.send(put(1, [1.0]))
    next(raw.replies)
    older, frames = raw.replies, raw.frames
    assert raw.attach().last_seq == 1
    with pytest.raises(grpc.RpcError) as e:
        next(older)
    assert e.value.code() is grpc.StatusCode.ABORTED
    frames.put(pb.Frame(seq=2, instructions=[put(1, [5.0])]))
    assert raw.get(1).tolist() == [1.0]


def test_inspecting_the_graph(raw):
    raw.send(put(1, [1.0], True), apply("exp", 1, results=(2,)), apply("neg", 2, results=(3,)))
    raw.send(pb.Instruction(inspect=pb.Inspect(tensor=3, request=1, max_nodes=10)))
    h = raw.reply("history")
    assert h.requires_grad
    assert [n.name for n in h.nodes] == ["NegBackward0", "ExpBackward0", "torch::autograd::AccumulateGrad"]
    assert h.nodes[0].edges[0].node == h.nodes[1].id
    assert h.nodes[2].variable == 1


def test_synchronize_tells_the_first_error(raw):
    raw.send(apply("nothing", results=(1,)), apply("exp", 1, results=(2,)))
    raw.send(pb.Instruction(synchronize=pb.Synchronize(request=1)))
    assert "no op is called 'nothing'" in raw.reply("error").message
    raw.send(pb.Instruction(synchronize=pb.Synchronize(request=2)))
    assert raw.reply("done").request == 2


def test_synchronize_does_not_tell_what_was_told(raw):
    raw.send(apply("nothing", results=(1,)), apply("exp", 1, results=(2,)))
    assert "no op is called 'nothing'" in raw.error(2).message
    raw.send(pb.Instruction(synchronize=pb.Synchronize(request=1)))
    assert raw.reply("done").request == 1


def test_freed_memory_is_given_back(raw, service):
    session = service.sessions[raw.key.session_id]
    raw.send(put(1, np.zeros(1000)), pb.Instruction(free=pb.Free(tensors=[1, 1, 12345])))
    assert works(raw)
    assert session.engine.meter.used == 32


def test_the_catalog_is_listed(raw):
    ops = {o.name: o for o in raw.stub.ListOps(pb.ListOpsRequest(), timeout=20).ops}
    assert len(ops) >= 150
    assert ops["add"].signature == "add(Tensor|Scalar input, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor"


def test_server_info(raw):
    info = raw.stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=20)
    assert list(info.protocol_versions) == [1]
    assert list(info.devices) == ["cpu"]
