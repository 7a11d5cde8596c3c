"""Problems: the data, the geometry and everything that is fitted, checked before any computation.

No module imports jax. ``problem`` holds `Problem`, a frozen record of checked data, and the
problems that are derived from it. ``description`` prints a problem.

``checks`` validates single arguments. ``spec`` holds `ConvSpec`, a layer in plain integers, and
``geometry`` the geometry of a problem, for lags, times and layers. ``records`` reads arrays as
records. ``stored`` reads records that are not in memory slice by slice. ``rows`` describes the rows
of the design matrix, which of them are used and their weights, and ``confounds`` and ``nuisance``
the columns that are fitted in addition to the kernel. ``selection`` and ``names`` describe channels
and outputs. ``sizes`` holds the sizes of a problem and the limits of memory.
"""
