"""Two feature sets in one model: a strength for each, by evidence.

An envelope that the response follows, and sixteen bands of a spectrogram of which it keeps little.
One strength for both must be too large for the one or too small for the other.

Run: python examples/08_banded_ridge.py
"""

import numpy as np

import convsolve as cs

RNG = np.random.default_rng(8)
RECORDS, SAMPLES, BANDS, TAPS = 6, 400, 16, 15


def recordings() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """x of an envelope and its bands, in one array; y of two sensors."""
    k = np.arange(TAPS)[::-1, None, None]
    size = np.r_[1.0, np.full(BANDS, 0.1)][:, None]
    kernel = RNG.standard_normal((TAPS, 1 + BANDS, 2)) * size * 0.85**k
    x = [RNG.standard_normal((SAMPLES, 1 + BANDS)) for _ in range(RECORDS)]
    spec = cs.ConvSpec(TAPS, padding="causal")
    y = [cs.convolve(record, kernel, spec) for record in x]
    return x, [record + 2.5 * RNG.standard_normal(record.shape) for record in y]


def main() -> None:
    x, y = recordings()
    problem = cs.Problem.from_lags(x[:4], y[:4], lags=(0, TAPS - 1), edges="zeros", bias=True)
    sets = (0,) + (1,) * BANDS
    solvers = {
        "least squares": None,
        "one ridge": cs.Regularized(),
        "a ridge for each set": cs.Regularized(cs.Ridge(groups=sets)),
    }
    print(f"{'':22} R² of two records that were held out")
    for name, solver in solvers.items():
        fit = cs.solve(problem, solver)
        print(f"{name:22} " + "  ".join(f"{v:.3f}" for v in fit.score(x[4:], y[4:]).r2))
    envelope, bands = fit.regularization.strength
    print("\nstrengths of the envelope", envelope.round(1), "and of the bands", bands.round(1))


if __name__ == "__main__":
    main()
