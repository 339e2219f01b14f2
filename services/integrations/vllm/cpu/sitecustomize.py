"""Keeps adapters out of the base's answers on a CPU (deploy/decisions/0007).

vLLM marks tokens of the base by place -1. Its operations on a CPU index the places' weights with it, which is the last place, so the
base was answered by whichever adapter lay there. Here the inputs of such tokens are zero before they are multiplied by any adapter.
Standard library only: this runs in vLLM's environment, at the start of each of its processes.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

OPERATIONS = "vllm.lora.ops.torch_ops.lora_ops"
EXPANDING = ("bgmv_expand", "bgmv_expand_slice")  # all others end in these


class AfterImport(MetaPathFinder):
    """Finds the module as Python would, and corrects it once it is executed, before anybody has taken a name out of it."""

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
    """``operation(inputs [tokens, rank], weights, output, places [tokens], ...)`` with nothing of tokens whose place is negative."""

    def expand(inputs: Any, weights: Any, output: Any, places: Any, *rest: Any, **named: Any) -> Any:
        return operation(inputs * (places >= 0).unsqueeze(1).to(inputs.dtype), weights, output, places, *rest, **named)

    return expand


sys.meta_path.insert(0, AfterImport())
