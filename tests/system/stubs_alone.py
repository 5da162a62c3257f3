"""A program that has nothing but stubs made from the .proto file: run with the folder of the stubs and the address."""

import struct
import sys

sys.path.insert(0, sys.argv[1])
import grpc  # noqa: I001 - the stubs are those of the folder given
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_proto.v1.gradwire_pb2_grpc import GradwireStub

stub = GradwireStub(grpc.insecure_channel(sys.argv[2]))
opened = stub.OpenSession(pb.OpenSessionRequest(protocol_version=1))
x = pb.TensorData(dtype=pb.DTYPE_FLOAT32, shape=[3], data=struct.pack("<3f", -3, 2, 5))
frames = [
    pb.Frame(attach=pb.SessionKey(session_id=opened.session_id, secret=opened.secret)),
    pb.Frame(seq=1, instructions=[
        pb.Instruction(put=pb.Put(result=1, data=x, requires_grad=True)),
        pb.Instruction(apply=pb.Apply(op="pow", results=[2],
                                      arguments=[pb.Argument(tensor=1), pb.Argument(int_value=3)])),
        pb.Instruction(apply=pb.Apply(op="sum", arguments=[pb.Argument(tensor=2)], results=[3])),
        pb.Instruction(backward=pb.Backward(tensors=[3])),
        pb.Instruction(get_gradient=pb.GetGradient(tensor=1, result=4)),
        pb.Instruction(get=pb.Get(tensor=4, request=1)),
    ]),
]  # fmt: skip
for reply in stub.Stream(iter(frames)):
    if reply.HasField("value"):
        print(*struct.unpack("<3f", reply.value.data.data))
