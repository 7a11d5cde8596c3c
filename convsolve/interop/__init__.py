"""Going to and from other libraries; needs none of them, and no jax.

Imported by themselves: `convsolve.interop.mne`, recordings of MNE; `convsolve.interop.mtrf`,
trained TRFs of mTRFpy and its regularization; `convsolve.interop.events`, tables of events as BIDS
and nilearn have them.
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
