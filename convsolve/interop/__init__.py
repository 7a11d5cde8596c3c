"""Going to and from other libraries; needs none of them, and no jax.

Imported by themselves: `convsolve.interop.mne`, recordings of MNE, and `convsolve.interop.events`,
tables of events as BIDS and nilearn have them. Kernels of Keras and Flax have the layout of the
package.
"""

from .layouts import (
    from_impulse_response,
    from_mne,
    from_torch,
    from_trf,
    to_impulse_response,
    to_mne,
    to_torch,
    to_trf,
)

__all__ = [
    "from_impulse_response",
    "from_mne",
    "from_torch",
    "from_trf",
    "to_impulse_response",
    "to_mne",
    "to_torch",
    "to_trf",
]
