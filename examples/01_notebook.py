"""The notebook that convsolve began as: a convolution spelled out, then three kernels recovered.

Run: python examples/01_notebook.py
"""

import numpy as np

import convsolve as cs


def spell_out() -> None:
    """A convolution by hand: every position of the filter gives one number."""
    conv1d_filter = np.array([1, 2])
    x = np.array([0, 3, 4, 5])
    print("Conv1d input:", x)
    result = []
    for i in range(3):
        print(x[i : i + 2], "*", conv1d_filter, "=", x[i : i + 2] * conv1d_filter)
        result.append(int(np.sum(x[i : i + 2] * conv1d_filter)))
    print("Conv1d output:", result)
    assert cs.convolve(x, conv1d_filter, cs.ConvSpec(2)).tolist() == result


def recover(title: str, x: np.ndarray, y: np.ndarray, taps: int, steps: int) -> None:
    """Judge the data, descend as the notebook does, then solve exactly."""
    print(f"\n{title}\n{'-' * len(title)}")
    problem = cs.Problem(x, y, kernel_size=taps)
    report = cs.identify(problem)
    print(f"{report.verdict}: {report.counting}\n")
    adam = cs.solve(problem, cs.GradientDescent(loss="mae", steps=steps))
    print(adam.trace)
    exact = cs.solve(problem)
    print(f"\nexact, by {exact.stats['solver']}, condition {report.condition:.3g}:")
    print(np.array2string(np.squeeze(exact.kernel), precision=12, suppress_small=True))


def main() -> None:
    spell_out()
    x = np.array([0, 3, 4, 5]).reshape(1, 4, 1)
    y = np.array([6, 11, 14]).reshape(1, 3, 1)
    recover("One filter", x, y, taps=2, steps=200)
    pairs = [[0, 0], [3, 6], [4, 7], [5, 8], [1, 2], [4, 5], [2, 0], [0, 1]]
    output = np.array([14, 20, 14, 15, 10, 4]).reshape(1, 6, 1)
    recover("Two input channels", np.array(pairs).reshape(1, 8, 2), output, taps=3, steps=1000)
    filters = np.array([[6, 12], [11, 25], [14, 32]]).reshape(1, 3, 2)
    recover("Two filters", x, filters, taps=2, steps=1000)


if __name__ == "__main__":
    main()
