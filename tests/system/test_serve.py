"""``gradwire serve`` as a process: starting, stopping, metrics, health, tokens, leases, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from importlib import resources
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

import gradwire_proto
from gradwire_proto.v1 import gradwire_pb2 as pb
from gradwire_proto.v1.gradwire_pb2_grpc import GradwireStub
from tests.server.raw import Raw, apply, put
from tests.system.processes import open_session, serve

HERE = Path(__file__).parent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(tmp_path, number):
    with serve(tmp_path) as server:
        raw = Raw(server.address)
        raw.send(put(1, [1.0]))
        assert next(raw.replies).acknowledged == 1
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
        raw.channel.close()


def test_metrics_can_be_scraped(tmp_path):
    with serve(tmp_path) as server:
        raw = Raw(server.address)
        raw.send(put(1, [1.0, 2.0], True), apply("exp", 1, results=(2,)), apply("sum", 2, results=(3,)),
                 pb.Instruction(backward=pb.Backward(tensors=[3])))  # fmt: skip
        raw.send(pb.Instruction(synchronize=pb.Synchronize(request=1)))
        raw.reply("done")
        raw.send(pb.Instruction(synchronize=pb.Synchronize(request=2)))  # frame 1 is counted once frame 2 began
        raw.reply("done")
        text = urllib.request.urlopen(server.metrics, timeout=20).read().decode()
        families = {f.name: f for f in text_string_to_metric_families(text)}
        counts = {
            (s.labels["op"], s.labels["phase"]): s.value
            for s in families["gradwire_kernel_seconds"].samples
            if s.name.endswith("_count")
        }
        assert counts["exp", "forward"] == counts["exp", "backward"] == 1
        assert families["gradwire_sessions"].samples[0].value == 1
        assert families["gradwire_tensors"].samples[0].value == 3
        started = {s.labels["grpc_method"]: s.value for s in families["grpc_server_started"].samples
                   if s.name.endswith("_total")}  # fmt: skip
        assert started["OpenSession"] == started["Stream"] == 1
        promtool = shutil.which("promtool")
        if promtool is not None:
            subprocess.run([promtool, "check", "metrics"], input=text, text=True, check=True, timeout=60)
        raw.close()


def test_health_has_an_address_of_its_own(tmp_path):
    with serve(tmp_path) as server, grpc.insecure_channel(server.health) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "gradwire.v1.Gradwire"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20, wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_stubs_alone_are_enough(tmp_path):
    proto = Path(str(resources.files(gradwire_proto))).parent
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto}", f"--python_out={tmp_path}",
         f"--grpc_python_out={tmp_path}", "gradwire_proto/v1/gradwire.proto"],
        check=True, cwd=proto, timeout=60,
    )  # fmt: skip
    with serve(tmp_path) as server:
        ran = subprocess.run([sys.executable, HERE / "stubs_alone.py", tmp_path, server.address], text=True,
                             capture_output=True, timeout=60)  # fmt: skip
    assert ran.stdout.split() == ["27.0", "12.0", "75.0"], ran.stderr


def test_a_token_is_wanted(tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame\n")
    with serve(tmp_path, "--token-file", str(token)) as server, grpc.insecure_channel(server.address) as channel:
        stub = GradwireStub(channel)
        for metadata in ([], [("authorization", "Bearer sesam")]):
            with pytest.raises(grpc.RpcError) as e:
                stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=20, wait_for_ready=True, metadata=metadata)
            assert e.value.code() is grpc.StatusCode.UNAUTHENTICATED
        stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=20, metadata=[("authorization", "Bearer sesame")])


def test_a_session_without_a_stream_ends_with_its_lease(tmp_path):
    with serve(tmp_path, "--lease", "0.2", "--log-format", "json") as server:
        channel, _, key = open_session(server.address)
        assert server.process.stderr is not None
        # The log tells when, so nothing is waited for by the clock.
        for line in server.process.stderr:
            row = json.loads(line)
            assert key.secret not in line
            if row["message"] == "session expired":
                assert row["session"] == key.session_id
                break
        with pytest.raises(grpc.RpcError) as e:
            next(GradwireStub(channel).Stream(iter([pb.Frame(attach=key)]), timeout=20))
        assert e.value.code() is grpc.StatusCode.NOT_FOUND
        channel.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--device", "tpu"], "Expected one of cpu, cuda, cuda:N as device, got: tpu"),
        (["--listen", "unix:/nowhere/at/all"], "/nowhere/at/all"),
        (["--metrics-listen", "here"], "expected host:port, got 'here'"),
        (["--token-file", "/nowhere/token"], "/nowhere/token"),
        (["--max-bytes", "plenty"], "not a size: 'plenty'"),
    ],
)
def test_what_can_not_be_served(tmp_path, options, text):
    given = [] if "--listen" in options else ["--listen", f"unix:{tmp_path}/s"]
    ran = subprocess.run([sys.executable, "-m", "gradwire_server", "serve", *given, *options], text=True,
                         capture_output=True, timeout=60)  # fmt: skip
    assert ran.returncode != 0
    assert text in ran.stderr
    assert "Traceback" not in ran.stderr
