"""What x alone says of the kernel, before anything is solved.

``verdict`` decides between the six verdicts; ``null_space`` names the taps that the data cannot
tell apart; ``remedies`` tries what would help; ``descent_forecast`` predicts plain gradient
descent; ``wording`` puts all this into sentences; ``report`` is the `Identifiability` itself.
"""
