"""Problems: the data, the geometry and everything that is fitted, checked before any computation.

No module imports jax. ``problem`` holds `Problem`, a frozen record of checked data, and the
problems that are derived from it. ``reading`` reads its arguments, and ``shapes`` checks that they
fit. ``description`` prints a problem.

``checks`` validates single arguments. ``spec`` holds `ConvSpec`, the geometry in plain integers,
and ``lags`` a geometry that is stated by lags. ``records`` reads arrays as records. ``stored``
reads records that are not in memory slice by slice. ``rows`` describes the rows of the design
matrix, ``masks`` which of them are used, ``weights`` their weights, and ``confounds`` and
``nuisance`` the columns that are fitted in addition to the kernel. ``selection`` and ``names``
describe channels and outputs. ``sizes`` holds the sizes of a problem and the limits of memory.
"""
