"""Captures functions of tensors as CUDA graphs and replays them.

A small network has hundreds of kernels that take the host longer to launch than the device to run.
A graph is captured once per shapes and dtypes of the arguments and then launched by a single call.
On other devices, and with SLOTCLI_CUDA_GRAPHS=0 in the environment, functions are called directly.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch import device as Device
from torch.utils import _pytree as pytree

from slotcli.kernels import dispatch

MOST_GRAPHS = 2  # each holds the memory of all its intermediate results
WARM_UPS = 3

_log = logging.getLogger("slotcli.kernels")


def uses_graphs(device: Device) -> bool:
    """Whether graphs are used on a device; not under autocast, whose casts a graph would lose."""
    return (
        device.type == "cuda"
        and os.environ.get("SLOTCLI_CUDA_GRAPHS") != "0"
        and not torch.is_autocast_enabled(device.type)
    )


class CudaGraphs:
    """Cache of the last MOST_GRAPHS graphs of one function, which is logged as `name`.

    The key consists of the arguments' shapes and dtypes, the weights' addresses, and the backend
    of the operations.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._recordings = OrderedDict[Hashable, _Recording]()
        self._failed = False

    def bind(
        self, module: nn.Module, function: Callable[..., Any], *last: Any
    ) -> Callable[..., Any]:
        """Binds the function's last arguments, which are copied to the graph once for all calls.

        The function takes tensors, or tuples and lists of them, may read the module's weights, and
        returns new tensors; it must neither branch on values of tensors nor synchronise. In
        training mode it is called directly. Raises ValueError while gradients are enabled, because
        a graph has none.
        """
        if torch.is_grad_enabled():
            raise ValueError(f"{self._name} has no gradients here: use it under torch.no_grad()")
        if self._failed or module.training or not uses_graphs(next(module.parameters()).device):
            return lambda *first: function(*first, *last)
        key = (_signature(last), _weight_addresses(module), dispatch.backend())
        binding = object()

        def call(*first: Any) -> Any:
            recording = self._recording((_signature(first), key), function, (first, last))
            if recording is None:
                return function(*first, *last)
            given = first if recording.binding is binding else (first, last)
            recording.binding = binding
            return recording.replay(pytree.tree_leaves(given))

        return call

    def free(self) -> None:
        """Frees the memory of all graphs."""
        while self._recordings:
            self._recordings.popitem()[1].free()

    def _recording(
        self, key: Hashable, function: Callable[..., Any], arguments: tuple[Any, Any]
    ) -> "_Recording | None":
        """Returns the graph for a key, captured if new; None after a failure, which is logged."""
        if key in self._recordings:
            self._recordings.move_to_end(key)
            return self._recordings[key]
        if self._failed:
            return None
        if len(self._recordings) == MOST_GRAPHS:
            self._recordings.popitem(last=False)[1].free()
        try:
            self._recordings[key] = _Recording(function, arguments)
        except RuntimeError as error:
            self._failed = True
            self.free()
            reason = str(error).partition("\n")[0]
            _log.warning("%s runs without a CUDA graph, and slower: %s", self._name, reason)
            return None
        return self._recordings[key]


class _Recording:
    """A captured graph, with its input and output buffers.

    `binding` identifies the `bind` call whose last arguments are in the buffers.
    """

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, Any]) -> None:
        self.binding: object = None
        # Tensors created in inference mode could not be written to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            first, last = pytree.tree_map(torch.clone, arguments)
            self._inputs: list[Tensor] = pytree.tree_leaves((first, last))
            self._graph, self._outputs = capture(lambda: function(*first, *last), self._inputs[0])

    def replay(self, given: list[Tensor]) -> Any:
        """Results with the first inputs replaced by `given`; the others keep their values."""
        for buffer, value in zip(self._inputs, given, strict=False):
            buffer.copy_(value)
        self._graph.replay()
        return pytree.tree_map(torch.clone, self._outputs)

    def free(self) -> None:
        self._graph.reset()
        self._inputs, self._outputs = [], None


def capture(function: Callable[[], Any], like: Tensor) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Captures a call on the device of `like`; returns the graph and its output buffers.

    Raises RuntimeError if the call cannot be captured.
    """
    with torch.cuda.device(like.device):
        aside, graph = _stream(like.device), torch.cuda.CUDAGraph()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream().wait_stream(aside)
        # Ignores CUDA calls of other threads, such as pinning memory.
        try:
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                outputs = function()
        except RuntimeError:
            _end_capture_of_random_numbers(like.device)
            raise
    return graph, outputs


def _end_capture_of_random_numbers(device: Device) -> None:
    """Replaces a device's generator by one in the same state that is not in capture mode.

    After a failed capture PyTorch leaves the generator in that mode, and every later random
    operation raises.
    """
    generator = torch.cuda.default_generators[device.index]
    generator.graphsafe_set_state(generator.clone_state())


@cache
def _stream(device: Device) -> torch.cuda.Stream:
    """One stream for all captures, because libraries keep a workspace per stream."""
    return torch.cuda.Stream(device)


def _signature(arguments: Any) -> Hashable:
    tensors, structure = pytree.tree_flatten(arguments)
    return str(structure), tuple((tensor.shape, tensor.dtype) for tensor in tensors)


def _weight_addresses(module: nn.Module) -> Hashable:
    """Addresses of a module's weights: a graph sees in-place changes, but no new tensors."""
    weights = (*module.parameters(), *module.buffers())
    return tuple((weight.data_ptr(), weight.dtype, weight.stride()) for weight in weights)
