"""Compile-only checks of Triton kernels, for machines without a GPU to launch them on."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class CompileCase:
    """One kernel in one configuration, and the requirements on its machine code.

    `signature` maps each argument that is no constexpr to its type in Triton's spelling: "*bf16",
    "i32", "fp32". `aligned` names the arguments that are multiples of 16 in every such launch. An
    integer argument of 1 belongs in `constexprs`, because a launch specialises it to a constant.
    """

    name: str
    kernel: Any  # result of triton.jit; untyped because this module must not import Triton
    signature: dict[str, str]
    constexprs: dict[str, Any]
    num_warps: int
    num_stages: int
    aligned: frozenset[str] = field(default_factory=frozenset)
    # Bulk loads or stores that have to be 16-byte accesses.
    wide: frozenset[Literal["load", "store"]] = field(default_factory=frozenset)
    # Most machine instructions in the longest loop, for kernels that are limited by instructions.
    loop_budget: int | None = None
