"""What is asked: the geometry, the data, and what they must agree on. No jax.

``checks`` validates single arguments; ``spec`` holds `ConvSpec`, the geometry in plain integers;
``lags`` states a geometry by its lags; ``records`` reads arrays as records, ``stored`` those that
are not in memory slice by slice, ``whole_chunks`` what of these is decoded by chunks, and
``remote`` leaves those on devices there; ``rows`` says which samples of y count, and ``missing``
which of them masks and gaps leave; ``nuisance`` what is fitted beside the kernel; ``sizes`` what a
problem takes and what is allowed; ``problem`` joins them to a `Problem`, the one place where bad
input is refused.
"""
