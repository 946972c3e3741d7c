"""Fewer, larger kernels: PyTorch's compiler joins the small ones of a function."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from components.engines.device import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

logger = logging.getLogger(__name__)

SPECIALISATIONS = 64
"""Shapes that one function is compiled for at most: those of prompts, rounds and drafts, of every model loaded."""


class Fused:
    """A function as PyTorch's compiler (inductor) writes it; as it was, where the compiler fails.

    A decoder's step for one token is a chain of small kernels, each of which costs its own start and end. With
    ``coordinate_descent_tuning`` inductor writes the products with a single row itself, so that bias, activation,
    residual and norm become part of their kernels (as gpt-fast does). Compiled when first called, for static shapes.

    ``failure``: why the compiler failed, in a line; empty where it did not, or has not run yet.
    """

    def __init__(self, function: Callable[..., torch.Tensor], options: dict[str, Any] | None = None) -> None:
        import torch

        self.plain, self.failure = function, ""
        options = {"coordinate_descent_tuning": True} if options is None else options
        self.function = torch.compile(function, dynamic=False, options=options)

    def __call__(self, *arguments: Any) -> torch.Tensor:
        import torch

        if self.failure:
            return self.plain(*arguments)
        try:
            with torch._dynamo.config.patch(recompile_limit=SPECIALISATIONS):  # noqa: SLF001 - its documented setting
                return self.function(*arguments)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.failure = f"{type(error).__name__}: {error}".splitlines()[0]
            logger.warning("Kernels are not fused: %s", self.failure)
            return self.plain(*arguments)
