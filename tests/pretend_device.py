"""A device that this machine does not have, for tests of what a model does on one.

Its tensors lie in ordinary memory, but torch sees them on a device of their own: whatever mixes
them with tensors of the host, or reads them without `.cpu()`, fails as it does on a GPU. As there,
a tensor without dimensions may come from the host, and indices may. How fast a GPU is, and what it
rounds otherwise, cannot be learned here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
"""The only one that torch can be told of without a backend of it."""

_INDEX = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}


class MixedDevicesError(AssertionError):
    """An operation had tensors of the host beside those of the device."""


class DeviceTensor(Tensor):
    """A tensor of the pretended device; `held` is where its numbers are."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[DeviceTensor], held: Tensor) -> DeviceTensor:
        with torch.inference_mode(False):  # else views of the model's weights cannot be made
            made = Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=DEVICE,
            )
        made.held = held
        return made

    def tolist(self) -> Any:
        """A copy on the host, as of any device's tensor."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, values: Any = (), named: Any = None
    ) -> Any:
        return run(function, values, named or {})


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device)


def _held(value: Any) -> Any:
    if _is_device(value):
        return torch.device("cpu")
    return value.held if isinstance(value, DeviceTensor) else value


def _put(value: Any) -> Any:
    return DeviceTensor(value) if isinstance(value, Tensor) else value


def run(function: Any, values: Any, named: dict[str, Any]) -> Any:
    """The operation on what is held; its results are on the device where its arguments are."""
    wanted = next((each for each in tree_leaves((values, named)) if _is_device(each)), None)
    tensors = [each for each in tree_leaves((values, named)) if isinstance(each, Tensor)]
    here = [each for each in tensors if isinstance(each, DeviceTensor)]
    moves = wanted is not None or function is torch.ops.aten.copy_.default
    if any(each.is_meta and not isinstance(each, DeviceTensor) for each in tensors):
        raise MixedDevicesError(f"{function}: a tensor was made past this device's ways")
    if here and not moves:
        looked_at = tree_leaves(values[:1]) if function in _INDEX else tensors
        for each in looked_at:
            if isinstance(each, Tensor) and not isinstance(each, DeviceTensor) and each.dim():
                raise MixedDevicesError(f"{function}: {tuple(each.shape)} of the host")
    result = function(*tree_map(_held, values), **tree_map(_held, named))
    on_device = wanted == DEVICE or (bool(here) and wanted is None)
    if function is torch.ops.aten.copy_.default:
        on_device = isinstance(values[0], DeviceTensor)
    if on_device and function is not torch.ops.aten._local_scalar_dense.default:
        kept = {id(each.held): each for each in here}  # what works in place returns its argument
        return tree_map(lambda each: kept.get(id(each)) if id(each) in kept else _put(each), result)
    return result


class _Factories(TorchDispatchMode):
    """Makes tensors on the device where one is asked for, and moves tensors there."""

    def __torch_dispatch__(
        self, function: Any, types: Any, values: Any = (), named: Any = None
    ) -> Any:
        return run(function, values, named or {})


def _as_tensor(places: Any) -> Any:
    """Lists among indices as tensors of the host."""
    if isinstance(places, tuple):
        return tuple(_as_tensor(each) for each in places)
    return torch.tensor(places, dtype=torch.long) if isinstance(places, list) else places


class _Data(TorchFunctionMode):
    """Has what Python's numbers say made on the host first; torch would not keep it."""

    def __torch_function__(
        self, function: Any, types: Any, values: Any = (), named: Any = None
    ) -> Any:
        named = dict(named or {})
        if function is torch.tensor and named.get("device") == DEVICE:
            del named["device"]
            return function(*values, **named).to(DEVICE)
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            first, places, *rest = values
            values = (first, _as_tensor(places), *rest)
        return function(*values, **named)


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """While it lasts, `DEVICE` is there."""
    with _Factories(), _Data():
        yield DEVICE


def put(model: nn.Module) -> None:
    """Move the model there, as `.to` does."""
    with torch.no_grad():
        for module in model.modules():
            for name, weight in list(module._parameters.items()):
                if weight is not None:
                    module._parameters[name] = nn.Parameter(DeviceTensor(weight.detach()), False)
            for name, buffer in list(module._buffers.items()):
                if buffer is not None:
                    module._buffers[name] = DeviceTensor(buffer)
