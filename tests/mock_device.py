"""A device that every machine has: it computes on the CPU, but takes no tensor from there.

A tensor on it is an ``OnDevice``, which holds an ordinary tensor. As on a GPU, an operation on
tensors of both places is an error, and so is to turn one into numpy. To read a number, or to copy a
tensor back, is to wait for the device; ``MockDevice.waits`` counts that. The device is called
"meta", because torch runs a backward pass of such tensors without asking a driver.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}
# A GPU takes row numbers from the CPU, and copies between both.
MAY_MIX = {aten.index.Tensor, aten.index_put_.default, aten.copy_.default}


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
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
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
        unwrap = lambda x: x.inner if isinstance(x, OnDevice) else x  # noqa: E731
        result = function(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))

        def wrap(x):
            if not isinstance(x, torch.Tensor) or not on_device:
                return x
            same = wrapper_of.get(id(x))  # of an operation in place
            return OnDevice(x) if same is None else same

        return tree_map(wrap, result)
