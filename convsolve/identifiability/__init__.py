"""What x alone says of the kernel, before anything is solved.

``verdict`` decides between the six verdicts; ``null_space`` names the taps that the data cannot
tell apart; ``diagnosis`` holds the numbers: ranks, masks, standard errors, null spaces. On it stand
``descent_forecast``, which predicts plain gradient descent, ``suggestions``, which tries what would
help, and ``wording``, which has the sentences; ``report`` is the public `Identifiability`, the
diagnosis with its words.
"""
