"""Keeps adapters out of the base's answers on a CPU (deploy/decisions/0007).

vLLM marks tokens of the base model by LoRA slot -1. Its CPU operations use -1 as an index, which selects the last slot, so the
adapter in that slot changed the base's answers. Here the inputs of such tokens are set to zero before they meet any adapter.
Standard library only: this runs in vLLM's environment, at the start of each of its processes.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

OPERATIONS = "vllm.lora.ops.torch_ops.lora_ops"
EXPANDING = ("bgmv_expand", "bgmv_expand_slice")  # all others end in these


class AfterImport(MetaPathFinder):
    """Finds the module as Python would, and replaces its operations right after it is executed, before anything else imports them."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != OPERATIONS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_correct(module: Any) -> None:
            execute(module)
            for name in EXPANDING:
                setattr(module, name, without_base(getattr(module, name)))

        spec.loader.exec_module = execute_and_correct  # type: ignore[method-assign]
        return spec


def without_base(operation: Any) -> Any:
    """``operation(inputs [tokens, rank], weights, output, slots [tokens], ...)``, with the inputs of tokens in a negative slot set to 0."""

    def expand(inputs: Any, weights: Any, output: Any, slots: Any, *rest: Any, **named: Any) -> Any:
        return operation(inputs * (slots >= 0).unsqueeze(1).to(inputs.dtype), weights, output, slots, *rest, **named)

    return expand


sys.meta_path.insert(0, AfterImport())
