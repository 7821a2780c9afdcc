"""What it takes to compile a Triton kernel where there is no GPU to launch it on."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class CompileCase:
    """One kernel in one configuration, and what its machine code has to be like.

    `signature` has the type of each argument that is no constexpr, as Triton spells it: "*bf16",
    "i32", "fp32". `aligned` names those that are multiples of 16 wherever the kernel is launched
    this way. An integer that is 1 belongs into `constexprs`: a launch would make it one.
    """

    name: str
    kernel: Any  # what triton.jit makes; this module must not need Triton
    signature: dict[str, str]
    constexprs: dict[str, Any]
    num_warps: int
    num_stages: int
    aligned: frozenset[str] = field(default_factory=frozenset)
    # Bulk traffic that has to be in 16-byte accesses.
    wide: frozenset[Literal["load", "store"]] = field(default_factory=frozenset)
    # Most machine instructions that its longest loop may have, where that is what limits it.
    loop_budget: int | None = None
