"""convsolve: recover the kernel of a convolution, and report whether the data determine it.

>>> import convsolve as cs
>>> problem = cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2)
>>> cs.identify(problem).verdict
'overdetermined'
>>> cs.solve(problem).kernel[:, 0, 0].round(12).tolist()
[1.0, 2.0]
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# The stub file lists the public names once, for type checkers and for this module.
_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_IMPORTS = [node for node in _STUB.body if isinstance(node, ast.ImportFrom)]
# The module of every name; None for the modules themselves.
_HOMES = {alias.name: node.module for node in _IMPORTS for alias in node.names}

__all__ = sorted(name for name, home in _HOMES.items() if home)


def __getattr__(name: str) -> Any:
    # Names are imported when first used, so that `import convsolve` imports no jax (PEP 562).
    if name not in _HOMES:
        from .notation import unknown_attribute

        raise unknown_attribute(__name__, name, _HOMES)
    home = _HOMES[name]
    module = import_module(f".{home or name}", __name__)
    value = globals()[name] = getattr(module, name) if home else module
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)
