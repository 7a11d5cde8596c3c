"""Going to and from other libraries; needs none of them, and no jax.

`convsolve.interop.mne`, of recordings, needs MNE, and is imported by itself.
"""

from .layouts import (
    from_impulse_response,
    from_keras,
    from_mne,
    from_torch,
    from_trf,
    to_impulse_response,
    to_keras,
    to_mne,
    to_torch,
    to_trf,
)

__all__ = [
    "from_impulse_response",
    "from_keras",
    "from_mne",
    "from_torch",
    "from_trf",
    "to_impulse_response",
    "to_keras",
    "to_mne",
    "to_torch",
    "to_trf",
]
