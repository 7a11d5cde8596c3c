"""Problems: the data, the geometry and everything that is fitted, checked before any computation.

No module imports jax. ``problem`` holds `Problem`, a frozen record of checked data, and the
problems that are derived from it. ``description`` prints a problem.

``checks`` validates single arguments. ``spec`` holds `ConvSpec`, the geometry in plain integers,
and `Geometry`, which also states it by lags. ``records`` reads arrays, also those not in memory.
``rows`` describes the rows of the design matrix that are used, and their weights, and ``nuisance``
the columns that are fitted in addition to the kernel. ``lag_bases`` and ``kernel_space`` restrict
the kernels. ``names`` describes channels and outputs. ``sizes`` holds the sizes of a problem and
the limits of memory.
"""
