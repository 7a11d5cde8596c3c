"""Whether x determines the kernel, before anything is solved.

- ``verdict`` decides between the six verdicts.
- ``excitation`` computes the power of x at every frequency.
- ``null_space`` lists the taps that the data cannot separate.
- ``diagnosis`` computes the numbers: ranks, masks, standard errors, null spaces.
- ``descent`` predicts plain gradient descent.
- ``suggestions`` tries out the remedies it proposes.
- ``wording`` contains the sentences.
- ``report`` is the public `Identifiability`, the diagnosis with its words.
"""
