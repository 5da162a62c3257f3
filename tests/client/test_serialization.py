"""torch.save and torch.load: what comes back, what other programs read, and files that are none."""

import io
import json
import math
from collections import Counter, OrderedDict, defaultdict

import ml_dtypes
import numpy as np
import pytest

import gradwire as torch
from gradwire import nn, optim

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
          "complex128"]  # fmt: skip


def there_and_back(obj):
    file = io.BytesIO()
    torch.save(obj, file)
    file.seek(0)
    return torch.load(file)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 1)])
def test_tensors_of_every_type(dtype, shape):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    a = np.arange(math.prod(shape)).reshape(shape) - 1
    t = torch.tensor(a, dtype=getattr(torch, dtype))
    made = there_and_back(t)
    assert made.dtype is t.dtype
    assert made.shape == shape
    assert (made.numpy() == a.astype(kind)).all()


def test_containers_and_plain_values():
    obj = {
        "list": [1, 2.5, True, None, "é\ud800", b"\x00\xff", 2**70, -0.0],
        ("tuple", 1): (math.inf, -math.inf, 1e-300, 3 - 4j, complex(math.inf, 0)),
        3: OrderedDict(b=1, a=2),
        None: Counter("abca"),
        1.5: [{1, 2}, frozenset({3}), torch.Size([4, 5]), torch.float16, torch.device("cuda:1"), [], (), {}],
    }
    made = there_and_back(obj)
    assert made == obj
    assert [type(v) for v in made.values()] == [type(v) for v in obj.values()]
    assert [type(v) for v in made[1.5]] == [type(v) for v in obj[1.5]]
    assert [type(v) for v in made["list"]] == [type(v) for v in obj["list"]]
    assert math.copysign(1, made["list"][-1]) == -1
    assert math.isnan(there_and_back(math.nan))
    assert list(made[3]) == ["b", "a"]


def test_tensors_that_share_memory_or_are_the_same():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    w = nn.Parameter(torch.ones(2))
    y = x * 2
    file = io.BytesIO()
    torch.save([x, x, x.detach(), y, w, w.detach(), torch.ones(3, 2).t(), x.detach()[1:]], file)
    assert len(file.getvalue()) < 2000
    file.seek(0)
    a, b, c, d, p, q, t, v = torch.load(file)
    assert a is b
    assert (a.requires_grad, c.requires_grad, d.requires_grad, d.is_leaf) == (True, False, True, True)
    assert type(p) is nn.Parameter
    assert p.requires_grad
    c.add_(1)
    q.mul_(5)
    assert (a.tolist(), p.tolist(), d.tolist()) == ([2, 3], [5, 5], [2, 4])
    assert (t.shape, t.is_contiguous(), v.tolist()) == ((2, 3), True, [2])


def test_training_goes_on_from_a_file(tmp_path):
    def network():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        o = optim.AdamW(made.parameters(), lr=0.1, amsgrad=True)
        return made, o, optim.lr_scheduler.MultiStepLR(o, [2, 5])

    def train(made, o, schedule):
        x = torch.arange(12.0).reshape(4, 3)
        for _ in range(3):
            o.zero_grad()
            (made(x) ** 2).sum().backward()
            o.step()
            schedule.step()

    net = network()
    train(*net)
    path = tmp_path / "checkpoint.safetensors"
    torch.save([part.state_dict() for part in net], path)
    train(*net)
    other = network()
    states = torch.load(str(path), map_location=other[0][0].weight.device, weights_only=True)
    assert states[0]._metadata == other[0].state_dict()._metadata
    for part, state in zip(other, states, strict=True):
        part.load_state_dict(state)
    train(*other)
    for a, b in zip(net[0].state_dict().values(), other[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_other_programs_find_the_tensors():
    file = io.BytesIO()
    torch.save({"w": torch.tensor([1, 2], dtype=torch.int16), "more": [torch.tensor(1 + 2j), torch.ones(())]}, file)
    data = file.getvalue()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert set(header) == {"__metadata__", "w", "more.0", "more.1"}
    assert header["w"]["dtype"] == "I16"
    assert header["more.0"] == {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    start, end = header["w"]["data_offsets"]
    assert np.frombuffer(data[8 + length :][start:end], "<i2").tolist() == [1, 2]
    assert end == len(data) - 8 - length
    names = there_and_back({"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}, "__metadata__": torch.ones(2)})
    assert (names["a.b"].item(), names["a"]["b"].item(), names["__metadata__"].tolist()) == (1, 0, [1, 1])


def foreign(header, data=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return io.BytesIO(len(text).to_bytes(8, "little") + text + data)


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_files_of_others():
    header = {"__metadata__": {"format": "pt"}, "b": entry("C64", (), (4, 12)), "a": entry("BF16", (2,))}
    data = np.array([1, 2], ml_dtypes.bfloat16).tobytes() + np.complex64(3 + 4j).tobytes()
    made = torch.load(foreign(header, data))
    assert made["a"].dtype is torch.bfloat16
    assert (made["a"].tolist(), made["b"].item()) == ([1, 2], 3 + 4j)
    assert torch.load(foreign({})) == {}


def test_several_in_one_file_one_after_the_other():
    file = io.BytesIO()
    for i in range(3):
        torch.save(torch.full((2,), i), file)
    file.seek(0)
    assert [torch.load(file).tolist() for _ in range(3)] == [[0, 0], [1, 1], [2, 2]]


class Trickle(io.BytesIO):
    """Reads a byte at a time."""

    def read(self, n=-1):
        return super().read(min(n, 1))


def test_a_file_that_comes_bit_by_bit():
    file = Trickle()
    torch.save({"a": torch.ones(3)}, file)
    file.seek(0)
    assert torch.load(file)["a"].tolist() == [1, 1, 1]


MADE = {"__metadata__": {"gradwire": '{"tensor":"a","object":0}'}, "a": entry()}


@pytest.mark.parametrize(("file", "text"), [
    (io.BytesIO(), "^this is no file that gradwire.save wrote: it is empty$"),
    (io.BytesIO(b"PK\x03\x04 what PyTorch writes"), "it holds pickled objects, as PyTorch writes them, and these are"),
    (io.BytesIO(b"\x80\x02}q\x00."), "it holds pickled objects"),
    (io.BytesIO(b"hello, world"), "^this is no file that gradwire.save wrote: it has no header of safetensors'$"),
    (foreign(b"[1]"), "it has no header"),
    (foreign(b"[" * 100_000), "it has no header"),
    (foreign(b"{}"[:1]), "it has no header"),
    (io.BytesIO(b"\x05" + b"\x00" * 7 + b"{}"), "^the file ends 3 bytes too early$"),
    (foreign({"a": entry()}, b"123"), "^the file ends 1 bytes too early$"),
    (foreign({"a": entry(shape=(2**60,), offsets=(0, 2**62))}, b"123"), "^the file ends 4611686018427387901 bytes too"),
    (foreign({"a": 5}), "^the header does not say where tensor 'a' is$"),
    (foreign({"a": entry(offsets=(0, -4))}), "does not say where"),
    (foreign({"a": entry(offsets=(0,))}), "does not say where"),
    (foreign({"a": entry(offsets=(0, 8))}), "^tensor 'a', float32 of shape .1., can't be bytes 0 to 8 here$"),
    (foreign({"a": entry(offsets=(4, 8))}), "can't be bytes 4 to 8 here"),
    (foreign({"a": entry(shape=(-1,))}), "^tensor 'a' has the shape .-1.$"),
    (foreign({"a": entry(shape=(True,))}), "^tensor 'a' has the shape .True.$"),
    (foreign({"a": entry("F8_E4M3")}), "^tensor 'a' is of type 'F8_E4M3', which gradwire has none of$"),
    *[(foreign({**MADE, "__metadata__": {"gradwire": told}}, b"1234"),
       "^the file does not say in gradwire's way how its tensors belong together: ")
      for told in ("{", "{}", '{"tensor":"b","object":0}', '{"tensor":"a"}', '{"os.system":"true"}', '{"Size":["a"]}',
                   '{"dtype":"float"}', '{"dict":[1]}', '{"dict":[[{"dict":[]},1]]}', "[" * 100_000, '{"bytes":"*"}')],
    (foreign({"__metadata__": 5}), "how its tensors belong together"),
], ids=range(30))  # fmt: skip
def test_what_is_no_such_file(file, text):
    with pytest.raises(RuntimeError, match=text):
        torch.load(file)


def test_places(tmp_path):
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "nothing")
    with pytest.raises(RuntimeError, match=r"^Parent directory .*nowhere does not exist.$"):
        torch.save(1, tmp_path / "nowhere" / "file")
    with pytest.raises(AttributeError, match="^expected 'f' to be string, path, or a file-like object with a 'write'"):
        torch.save(1, 5)
    with pytest.raises(AttributeError, match="with a 'read' attribute"):
        torch.load(5)
    file = tmp_path / "file"
    torch.save(torch.ones(2), file)
    own = torch.tensor(0).device
    for location in (None, own, {"cuda:0": own}, lambda storage, location: storage):
        assert torch.load(file, location).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="a session has one device"):
        torch.load(file, map_location="cuda:7")


def test_what_is_not_saved():
    for obj, text in (
        ({"m": [nn.Linear(1, 1)]}, r"^save\(\) takes tensors and plain containers, not a Linear at m.0: save what it"),
        (len, "not a builtin_function_or_method: "),
        ([defaultdict(int)], "not a defaultdict at 0: "),
        (np.ones(2), "not a ndarray: "),
    ):
        with pytest.raises(TypeError, match=text):
            torch.save(obj, io.BytesIO())


def test_in_captured_functions_there_are_no_files():
    with pytest.raises(RuntimeError, match=r"loads a file at .*, which can't be part of a captured program; load it"):
        torch.compile(lambda: torch.load(io.BytesIO()))()
    with pytest.raises(RuntimeError, match="reads the value of a tensor"):
        torch.compile(lambda t: torch.save(t, io.BytesIO()))(torch.ones(2))
