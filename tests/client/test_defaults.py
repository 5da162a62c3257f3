"""The default type and device: what is made of nothing named, and what becomes of integers among floats."""

import pytest

import gradwire as torch


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


DEFAULTS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
NEW = {
    "tensor": lambda: torch.tensor([1.5]),
    "empty tensor": lambda: torch.tensor([]),
    "as_tensor": lambda: torch.as_tensor(1.5),
    "zeros": lambda: torch.zeros(2),
    "full": lambda: torch.full((2,), 1.5),
    "scalar_tensor": lambda: torch.scalar_tensor(3),
    "arange": lambda: torch.arange(0, 1, 0.5),
    "linspace": lambda: torch.linspace(0, 1, 3),
    "eye": lambda: torch.eye(2),
    "rand": lambda: torch.rand(2),
    "normal": lambda: torch.normal(0.0, 1.0, (2,)),
    "window": lambda: torch.hann_window(3),
    "layer": lambda: torch.nn.Linear(2, 2).weight,
}
FROM_INTEGERS = {
    "times a float": lambda n: n * 1.5,
    "float less": lambda n: 2.0 - n,
    "power of a float": lambda n: torch.pow(2.5, n),
    "quotient": lambda n: n / n,
    "function": lambda n: n.sin(),
    "two": lambda n: torch.atan2(n, n),
    "clamp": lambda n: n.clamp(0.5, 1.5),
    "reduction": lambda n: n.logsumexp(0),
    "where, numbers": lambda n: torch.where(n > 1, 1.5, 2),
    "where, a number": lambda n: torch.where(n > 1, n, 2.5),
    "composition": lambda n: torch.trapezoid(n, dx=0.5),
    "batched": lambda n: torch.vmap(lambda x: x / 4)(n),
}


@pytest.mark.parametrize("default", DEFAULTS, ids=str)
@pytest.mark.parametrize("make", NEW.values(), ids=NEW)
def test_new_tensors_are_of_the_default_type(make, default):
    torch.set_default_dtype(default)
    assert torch.get_default_dtype() is default
    assert make().dtype is default


@pytest.mark.parametrize("default", DEFAULTS, ids=str)
@pytest.mark.parametrize("f", FROM_INTEGERS.values(), ids=FROM_INTEGERS)
def test_integers_become_floats_of_the_default_type(f, default):
    n = torch.tensor([1, 2])
    before = f(n).double()  # the call is known by then
    torch.set_default_dtype(default)
    made = f(n)
    assert made.dtype is default
    assert torch.allclose(made.double(), before, rtol=0.01)
    assert made.double().numpy().dtype == "float64"  # and it is so on the server


def test_integers_compute_in_the_default_type():
    torch.set_default_dtype(torch.float64)
    assert (torch.tensor([1]) / 3).item() == 1 / 3
    odd = torch.tensor([16777217])
    assert (odd == 16777216.0).tolist() == [False]
    assert odd.clone().eq_(16777216.0).tolist() == [0]
    torch.set_default_dtype(torch.float32)  # which has no such number
    assert (odd == 16777216.0).tolist() == [True]


def test_floats_keep_their_type():
    torch.set_default_dtype(torch.float64)
    x = torch.ones(2, dtype=torch.float32, requires_grad=True)
    assert (x * 2.5).dtype is torch.float32
    assert (x * torch.tensor([1, 2])).dtype is torch.float32
    assert (x * 1j).dtype is torch.complex64
    assert torch.tensor([1, 2]).sum(dtype=torch.float32).dtype is torch.float32
    assert torch.zeros_like(x).dtype is x.new_ones(1).dtype is torch.float32


def test_complex_numbers_are_twice_the_default_type():
    torch.set_default_dtype(torch.float64)
    n = torch.tensor([1, 2])
    assert torch.tensor(1j).dtype is torch.full((1,), 1j).dtype is torch.complex128
    assert (n * 1j).dtype is torch.where(n > 1, 1j, 2).dtype is torch.fft.fft(n).dtype is torch.complex128
    assert torch.result_type(n, 1j) is torch.result_type(1.5, 1j) is torch.complex128
    assert torch.result_type(n, 1.5) is torch.float64
    torch.set_default_dtype(torch.bfloat16)
    with pytest.raises(RuntimeError, match="invalid default scalar type for complex"):
        torch.tensor(1j)


@pytest.mark.parametrize(
    "write", [lambda n: n.add_(1.5), lambda n: n.sqrt_(), lambda n: n.div_(2)], ids=["add_", "sqrt_", "div_"]
)
def test_integers_in_place_can_not_become_floats(write):
    for default, name in (("float64", "Double"), ("bfloat16", "BFloat16"), ("float32", "Float")):
        torch.set_default_dtype(getattr(torch, default))
        with pytest.raises(RuntimeError, match=f"result type {name} can't be cast to the desired output type Long"):
            write(torch.tensor([1, 2]))


def test_a_program_is_of_the_default_type_that_it_was_called_under():
    half = torch.compile(lambda n: n / 2)
    n = torch.tensor([1, 2])
    assert half(n).dtype is half(n).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    assert half(n).dtype is half(n).dtype is torch.float64
    assert half(n).tolist() == [0.5, 1.0]


def test_printing_names_other_types_than_the_default():
    torch.set_default_dtype(torch.float64)
    assert repr(torch.ones(1)) == "tensor([1.])"
    assert repr(torch.ones(1, dtype=torch.float32)) == "tensor([1.], dtype=torch.float32)"
    assert repr(torch.ones(1) * 1j) == "tensor([0.+1.j])"
    assert torch.finfo().dtype == "float64"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("x", "invalid dtype object: only floating-point types are supported as the default type"),
        (torch.int32, "only floating-point types are supported as the default type"),
        (torch.complex64, "only floating-point types are supported as the default type"),
    ],
)
def test_what_can_not_be_the_default_type(given, text):
    with pytest.raises(TypeError, match=f"^{text}$"):
        torch.set_default_dtype(given)
    assert torch.get_default_dtype() is torch.float32


def test_default_device():
    here = torch.zeros(1).device
    assert torch.get_default_device() == here
    torch.set_default_device(f"{here.type}:0")
    assert torch.get_default_device() == torch.device(here.type, 0)
    assert torch.zeros(2).device == here
    with torch.device(here.type) as inner:
        assert torch.get_default_device() is inner
        with torch.device("xla"):
            assert torch.get_default_device() == torch.device("xla")
        torch.set_default_device("mps")
        assert torch.get_default_device() is inner
    assert torch.get_default_device() == torch.device("mps")
    torch.set_default_device(None)
    assert torch.get_default_device() == here


def test_a_default_device_is_that_of_new_tensors_alone():
    x = torch.ones(2)
    with torch.device("xla"):
        for make in (lambda: torch.zeros(2), lambda: torch.tensor([1.0]), lambda: torch.rand(2)):
            with pytest.raises(RuntimeError, match=r"^this session's device is .*, not xla: a session has one device"):
                make()
        assert torch.zeros(2, device=x.device).device == x.device
        for made in (x + 1, torch.zeros_like(x), torch.rand_like(x), x.new_full((1,), 2.0)):
            assert made.device == x.device
    with pytest.raises(RuntimeError, match="^Expected one of cpu, cuda, .* device type at start of device string: foo"):
        torch.set_default_device("foo")


def test_programs_that_look_for_an_accelerator_find_the_sessions_device():
    on_gpu = torch.cuda.is_available()
    assert torch.accelerator.is_available() is on_gpu
    assert torch.accelerator.device_count() == torch.cuda.device_count() == int(on_gpu)
    found = torch.accelerator.current_accelerator()
    assert (found.type if found else "cpu") == ("cuda" if on_gpu else "cpu")
    assert not torch.backends.mps.is_available()
    torch.backends.cudnn.deterministic = True
    assert torch.backends.cudnn.is_available() is on_gpu
