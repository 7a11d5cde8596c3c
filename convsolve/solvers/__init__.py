"""The solvers, one method per file, and the losses and penalties with an exact method of their own.

``base`` has the interfaces of solvers and losses. ``direct`` has the solvers by a factor, and the
default, which chooses one of them or conjugate gradients. ``conjugate_gradient``,
``fft_deconvolution`` and ``gradient_descent`` are other solvers. ``penalized`` selects strengths
from the data. ``losses`` and ``lasso`` are losses and a penalty with their exact methods.
``early_stopping`` has the closed form of stopped descent, and ``linear`` runs under jax.
"""
