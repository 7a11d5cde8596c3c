"""The solvers, one method per file, and the losses and penalties with an exact method of their own.

``base`` has the interfaces of solvers and losses. ``auto`` chooses a solver. ``direct``,
``conjugate_gradient``, ``fft_deconvolution`` and ``gradient_descent`` are solvers. ``penalized``
selects strengths from the data. ``losses`` and ``lasso`` are losses and a penalty with their exact
methods. ``linear`` runs under jax.
"""
