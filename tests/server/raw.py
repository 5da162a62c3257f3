"""A client made of nothing but the stubs: what another language would write."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np

from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_proto.v1.gradwire_pb2_grpc import GradwireStub


class Raw:
    """One session and its stream. Instructions are sent a frame at a time; replies are read one by one."""

    def __init__(self, address: str, **opening: Any):
        self.channel = grpc.insecure_channel(address)
        self.stub = GradwireStub(self.channel)
        self.opened = self.stub.OpenSession(pb.OpenSessionRequest(protocol_version=1, **opening), timeout=20)
        self.key = pb.SessionKey(session_id=self.opened.session_id, secret=self.opened.secret)
        self.seq = 0
        self.attach()

    def attach(self, received: int = 0, client: int = 0, attempt: int = 0, takeover: bool = False) -> pb.Attached:
        self.frames: queue.SimpleQueue[pb.Frame | None] = queue.SimpleQueue()
        self.replies: Iterator[pb.Reply] = self.stub.Stream(iter(self.frames.get, None), timeout=60)
        first = pb.Frame(attach=self.key, received=received, client=client, attempt=attempt, takeover=takeover)
        self.frames.put(first)
        return next(self.replies).attached

    def send(self, *instructions: pb.Instruction, **frame: Any) -> None:
        self.seq += 1
        self.frames.put(pb.Frame(seq=self.seq, instructions=instructions, **frame))

    def reply(self, kind: str) -> Any:
        """The next reply that says more than an acknowledgement; it must be of this kind."""
        for r in self.replies:
            found = r.WhichOneof("kind")
            if found is not None:
                assert found == kind, r
                return getattr(r, kind)
        raise AssertionError("the stream ended")

    def get(self, tensor: int) -> np.ndarray:
        """A tensor's values (float64)."""
        self.send(pb.Instruction(get=pb.Get(tensor=tensor, request=999)))
        data = self.reply("value").data
        return np.frombuffer(data.data, "f8").reshape(tuple(data.shape))

    def error(self, tensor: int) -> pb.Error:
        """What reading a poisoned tensor answers."""
        self.send(pb.Instruction(get=pb.Get(tensor=tensor, request=999)))
        return self.reply("error")

    def close(self) -> None:
        self.frames.put(None)
        self.stub.CloseSession(pb.CloseSessionRequest(key=self.key), timeout=20)
        self.channel.close()


def apply(op: str, *args: Any, results: tuple[int, ...] = (), **kwargs: Any) -> pb.Instruction:
    """An Apply: ints are tensor ids, floats numbers, lists of ints plain ints."""
    made = pb.Apply(op=op, results=results)
    for name, v in [("", a) for a in args] + list(kwargs.items()):
        a = made.arguments.add(name=name)
        if isinstance(v, int):
            a.tensor = v
        elif isinstance(v, float):
            a.float_value = v
        elif isinstance(v, list):
            a.ints.values.extend(v)
        else:
            a.CopyFrom(v)
            a.name = name
    return pb.Instruction(apply=made)


def put(i: int, values: Any, requires_grad: bool = False) -> pb.Instruction:
    """A Put of float64 values."""
    a = np.asarray(values, "f8")
    data = pb.TensorData(dtype=pb.DTYPE_FLOAT64, shape=a.shape, data=a.tobytes())
    return pb.Instruction(put=pb.Put(result=i, data=data, requires_grad=requires_grad))
