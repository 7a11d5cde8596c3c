"""Whether x determines the kernel, before anything is solved.

- ``verdict`` decides between the six verdicts.
- ``descent`` predicts plain gradient descent.
- ``suggestions`` tries out the remedies it proposes.
- ``wording`` contains the sentences and facts, and lists the taps that the data cannot separate.
- ``report`` is the public `Identifiability`: ranks, masks, standard errors, null spaces,
  and the power of x at every frequency.
"""
