"""A device that every machine has: it computes on the CPU, but takes no tensor from there.

A tensor on it is an ``OnDevice``, which holds an ordinary tensor. As on a GPU, an operation on
tensors of both places is an error, and so is to turn one into numpy. To read a number, or to copy a
tensor back, is to wait for the device; ``MockDevice.waits`` counts that. The device is called
"meta", because torch runs a backward pass of such tensors without asking a driver.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}
# A GPU takes row numbers from the CPU, and copies between both.
MAY_MIX = {aten.index.Tensor, aten.index_put_.default, aten.copy_.default}


def tensors_in(values: Iterable) -> Iterator[torch.Tensor]:
    """The tensors among the arguments of an operation; some are in lists."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from tensors_in(value)


def with_tensors(change: Callable, value):
    """An argument or a result of an operation, with ``change`` of each tensor in it.

    torch's own pytrees can do this, too, but they took four fifths of the time of a training.
    """
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([with_tensors(change, part) for part in value])
    return value


class OnDevice(torch.Tensor):
    """A tensor on the mock device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        tensor.inner = inner
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} on the mock device, but outside MockDevice")


class MockDevice(TorchDispatchMode):
    """Within this context, ``.to("meta")`` moves tensors to the mock device."""

    def __init__(self, shared: "MockDevice | None" = None):
        super().__init__()
        self.log: list[str] = shared.log if shared else []

    @property
    def waits(self) -> int:
        """How often the program has waited for the device."""
        return len(self.log)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = list(tensors_in([*args, *kwargs.values()]))
        there = [x for x in tensors if isinstance(x, OnDevice)]
        here = [x for x in tensors if not isinstance(x, OnDevice) and x.dim()]
        if there and here and function not in MAY_MIX:
            raise RuntimeError(f"{function}: tensors on two devices")

        on_device = bool(there)
        if kwargs.get("device") is not None:
            on_device = torch.device(kwargs["device"]).type == DEVICE.type
            kwargs["device"] = torch.device("cpu")
        elif function is aten.copy_.default:
            on_device = isinstance(args[0], OnDevice)
        if there and (function in READS or not on_device):
            self.log.append(str(function))

        wrapper_of = {id(x.inner): x for x in there}

        def unwrap(x):
            return x.inner if isinstance(x, OnDevice) else x

        def wrap(x):
            same = wrapper_of.get(id(x))  # of an operation in place
            return OnDevice(x) if same is None else same

        inner = {name: with_tensors(unwrap, value) for name, value in kwargs.items()}
        result = function(*[with_tensors(unwrap, value) for value in args], **inner)
        return with_tensors(wrap, result) if on_device else result
