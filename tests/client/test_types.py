"""Sizes, devices and the limits of numbers: torch's values, texts and refusals."""

import copy
import operator
import pickle

import pytest

import gradwire
from gradwire.types import DTYPES, Size, device, finfo, iinfo
from gradwire_proto import dtypes


def test_size_is_a_tuple_that_stays_a_size():
    s = Size([2, 3])
    assert s == (2, 3)
    assert hash(s) == hash((2, 3))
    assert s.numel() == 6
    assert s[0] == 2
    assert repr(s) == "torch.Size([2, 3])"
    assert repr(Size()) == "torch.Size([])"
    assert Size().numel() == 1
    one = (1,)
    for made in (s[:1], s + one, one + s, s * 2, 2 * s, copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert type(made) is Size
    assert s + one == (2, 3, 1)
    assert one + s == (1, 2, 3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Size([1.5]), r"torch.Size\(\) takes an iterable of 'int' \(item 0 is 'float'\)"),
        (lambda: Size(3), "'int' object is not iterable"),
        (lambda: operator.add(Size([2]), [1]), r"can only concatenate tuple \(not list\) to torch.Size"),
        (lambda: finfo(dtypes.int32), "torch.finfo.. requires a floating point input type. Use torch.iinfo"),
        (lambda: finfo(3), r"finfo\(\): argument 'type' \(position 1\) must be torch.dtype, not int"),
        (lambda: iinfo(dtypes.float32), "torch.iinfo.. requires an integer input type. Use torch.finfo"),
        (lambda: iinfo(dtypes.bool_), "torch.bool is not supported by torch.iinfo"),
        (lambda: Size([dtypes.float32, 2]), r"torch.Size\(\) takes an iterable of 'int' \(item 0 is 'DType'\)"),
        (lambda: device(), r"device\(\) received an invalid combination of arguments - got \(\), but expected one of"),
        (lambda: device("cuda", "1"), r"device\(\): argument 'index' \(position 2\) must be int, not str"),
        (lambda: device(device("cuda"), 1), r"argument 'type' \(position 1\) must be str, not torch.device"),
        (lambda: Size(2, 3), "tuple expected at most 1 argument, got 2"),
        (lambda: iinfo(), r'iinfo\(\) missing 1 required positional arguments: "type"'),
        (lambda: hash(finfo()), "unhashable type"),
        (lambda: pickle.dumps(finfo()), r"cannot pickle 'torch.finfo' object"),
        (lambda: copy.deepcopy(iinfo(int)), r"cannot pickle 'torch.iinfo' object"),
        (lambda: device(None), r"got \(NoneType\), but .*\n.*\n.*arguments have invalid types: \(!NoneType!\)"),
        (lambda: device(index=1), r"got \(index=int, \), but .*\n.*\n.*keywords were incorrect: index"),
        (lambda: device("cpu", 1, 2), r"device\(\) received an invalid .* got \(str, int, int\)"),
        (lambda: device("cpu", foo=1), r"device\(\) got an unexpected keyword argument 'foo'"),
        (lambda: device(1.5, 1), r"device\(\): argument 'type' \(position 1\) must be str, not float"),
        (lambda: device(1.5), r"device\(\) received an invalid combination of arguments - got \(float\)"),
    ],
)
def test_wrong_types(make, text):
    with pytest.raises(TypeError, match=text):
        make()


def test_device():
    assert str(device("cuda:3")) == "cuda:3"
    assert repr(device("cuda", 3)) == "device(type='cuda', index=3)"
    assert str(device("cpu")) == "cpu"
    assert repr(device("cpu")) == "device(type='cpu')"
    assert device("cuda:0") == device("cuda", 0) == device(0) == device(type="cuda", index=0)
    assert device("cpu") != "cpu"
    assert device("cuda") != device("cuda:0")
    assert device(device("cpu")) == device(device="cpu") == device("cpu")
    assert pickle.loads(pickle.dumps(device("cuda:1"))) == device("cuda:1")
    assert len({device("cpu"), device("cpu")}) == 1


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("foo",), "Expected one of cpu, cuda, .* device type at start of device string: foo"),
        (("cuda:x",), "Invalid device string: 'cuda:x'"),
        (("cuda:01",), "Invalid device string: 'cuda:01'"),
        ((":1",), "Invalid device string: ':1'"),
        (("float32",), "Invalid device string: 'float32'"),
        (("",), "Device string must not be empty"),
        (("cuda:0", 1), "must not include an index because index was passed explicitly: cuda:0"),
        (("cuda:3000000000",), "Could not parse device index '3000000000' in device string 'cuda:3000000000'"),
        (("cuda", -1), "Device index must not be negative"),
    ],
)
def test_wrong_devices(args, text):
    with pytest.raises(RuntimeError, match=text):
        device(*args)
    with pytest.raises(AttributeError, match=r"attribute 'index' of 'torch.device' objects is not writable"):
        device("cpu").index = 3


def test_limits():
    assert repr(finfo(dtypes.float32)) == (
        "finfo(resolution=1e-06, min=-3.40282e+38, max=3.40282e+38, eps=1.19209e-07, "
        "smallest_normal=1.17549e-38, tiny=1.17549e-38, dtype=float32)"
    )
    assert finfo(dtypes.bfloat16).eps == 0.0078125
    assert finfo(dtypes.float16).max == 65504.0
    assert finfo(dtypes.float64).bits == 64
    assert finfo(dtypes.complex128).dtype == "float64"
    assert finfo(dtypes.complex64) == finfo(dtypes.float32)
    assert repr(iinfo(dtypes.int64)) == "iinfo(min=-9.22337e+18, max=9.22337e+18, dtype=int64)"
    assert (iinfo(dtypes.uint8).min, iinfo(dtypes.uint8).max, iinfo(dtypes.int8).min) == (0, 255, -128)


def test_every_name_of_a_type():
    assert DTYPES["float"] is DTYPES["float32"]
    assert DTYPES["long"] is DTYPES["int64"]
    assert DTYPES["cfloat"] is DTYPES["complex64"]
    assert DTYPES["half"] is DTYPES["float16"]


def test_limits_take_pythons_types_and_are_only_read():
    assert finfo(float) == finfo(dtypes.float64)
    assert iinfo(int) == iinfo(dtypes.int64)
    assert finfo(dtypes.float32) != iinfo(dtypes.int32)
    with pytest.raises(AttributeError, match=r"attribute 'max' of 'torch.finfo' objects is not writable"):
        finfo().max = 1
    with pytest.raises(AttributeError, match=r"'torch.iinfo' object has no attribute 'foo'"):
        iinfo(int).foo = 1


def test_sizes_from_tensors():
    assert Size([gradwire.tensor(2), gradwire.tensor([3])]) == (2, 3)
    assert Size(gradwire.tensor([3, 4])) == (3, 4)
