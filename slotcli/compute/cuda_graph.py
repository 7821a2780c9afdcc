"""Functions of tensors that a CUDA device replays whole, instead of being sent kernel by kernel.

A small network has hundreds of kernels that take the host longer to send than the device to run. A
graph is recorded once for each form of the arguments and then started by a single call. On other
devices, and with SLOTCLI_CUDA_GRAPHS=0 in the environment, functions are called as they are.
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


def records_on(device: Device) -> bool:
    """Whether functions are recorded on a device; autocast makes copies that a graph would lose."""
    return (
        device.type == "cuda"
        and os.environ.get("SLOTCLI_CUDA_GRAPHS") != "0"
        and not torch.is_autocast_enabled(device.type)
    )


class CudaGraphs:
    """The graphs of one function, by `name` in what is logged. The last MOST_GRAPHS are kept.

    They are told apart by the arguments' shapes and types, the weights' places in memory, and the
    form that operations take.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._recordings = OrderedDict[Hashable, _Recording]()
        self._failed = False

    def bind(
        self, module: nn.Module, function: Callable[..., Any], *last: Any
    ) -> Callable[..., Any]:
        """The function with its last arguments given: they are copied once for all of its calls.

        It takes tensors, or tuples and lists of them, reads the module's weights besides, and
        returns new tensors. It neither decides by the values of tensors nor waits for them. While
        the module trains it is called as it is. Raises ValueError while gradients are enabled,
        which no graph has.
        """
        if torch.is_grad_enabled():
            raise ValueError(f"{self._name} has no gradients here: use it under torch.no_grad()")
        if self._failed or module.training or not records_on(next(module.parameters()).device):
            return lambda *first: function(*first, *last)
        key = (_form(last), _places(module), dispatch.backend())
        binding = object()

        def call(*first: Any) -> Any:
            recording = self._recording((_form(first), key), function, (first, last))
            if recording is None:
                return function(*first, *last)
            given = first if recording.binding is binding else (first, last)
            recording.binding = binding
            return recording.replay(pytree.tree_leaves(given))

        return call

    def free(self) -> None:
        """Gives back the memory of all graphs."""
        while self._recordings:
            self._recordings.popitem()[1].free()

    def _recording(
        self, key: Hashable, function: Callable[..., Any], arguments: tuple[Any, Any]
    ) -> "_Recording | None":
        """The graph for a key, made if need be; None once that has failed, which is logged."""
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
    """A graph, with the buffers that it reads from and writes to.

    `binding` is whose last arguments the buffers hold.
    """

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, Any]) -> None:
        self.binding: object = None
        # Made in inference mode, the buffers could not be written to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            first, last = pytree.tree_map(torch.clone, arguments)
            self._inputs: list[Tensor] = pytree.tree_leaves((first, last))
            self._graph, self._outputs = record(lambda: function(*first, *last), self._inputs[0])

    def replay(self, given: list[Tensor]) -> Any:
        """The function's results for the first inputs as `given`, the others as they were."""
        for buffer, value in zip(self._inputs, given, strict=False):
            buffer.copy_(value)
        self._graph.replay()
        return pytree.tree_map(torch.clone, self._outputs)

    def free(self) -> None:
        self._graph.reset()
        self._inputs, self._outputs = [], None


def record(function: Callable[[], Any], like: Tensor) -> tuple[torch.cuda.CUDAGraph, Any]:
    """The graph of a call on the device of `like`, and what the graph will write to.

    Raises RuntimeError where the call cannot be recorded.
    """
    with torch.cuda.device(like.device):
        aside, graph = _stream(like.device), torch.cuda.CUDAGraph()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream().wait_stream(aside)
        # what other threads do meanwhile, such as pinning memory, is no part of it
        try:
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                outputs = function()
        except RuntimeError:
            _end_capture_of_random_numbers(like.device)
            raise
    return graph, outputs


def _end_capture_of_random_numbers(device: Device) -> None:
    """Gives a device a generator that is not in capture mode, with the state of the one it has.

    Where a capture fails, PyTorch leaves the generator in that mode, and each later random number
    raises.
    """
    generator = torch.cuda.default_generators[device.index]
    generator.graphsafe_set_state(generator.clone_state())


@cache
def _stream(device: Device) -> torch.cuda.Stream:
    """One for all recordings: libraries keep a workspace for every stream that they have seen."""
    return torch.cuda.Stream(device)


def _form(arguments: Any) -> Hashable:
    tensors, structure = pytree.tree_flatten(arguments)
    return str(structure), tuple((tensor.shape, tensor.dtype) for tensor in tensors)


def _places(module: nn.Module) -> Hashable:
    """Where a module's weights are: in-place changes reach a graph, new tensors do not."""
    weights = (*module.parameters(), *module.buffers())
    return tuple((weight.data_ptr(), weight.dtype, weight.stride()) for weight in weights)
