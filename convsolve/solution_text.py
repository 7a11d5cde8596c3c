"""The text of a solution that `print` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .identifiability.wording import MEANING, weak_sentence
from .kernel_text import kernel_lines
from .leastsquares.certificate import EXACT, GAP
from .leastsquares.penalty import listed
from .linalg.rank import EPS
from .text import line, span

if TYPE_CHECKING:
    from .inference.uncertainty import Noise

# Width of the labels, and the most outputs whose R² is listed.
MARGIN, MAX_OUTPUTS = 16, 6


def text(fit: Any) -> str:
    """Return the full summary. R² needs a prediction of all rows."""
    lines = [f"{fit.stats['solver']}: {fit.status}"]
    lines += [line(label, words, MARGIN) for label, words in _trust(fit)]
    kernel, groups = np.asarray(fit.kernel), fit.spec.groups
    lines += kernel_lines(kernel, fit.tap_lags, groups, fit.names, MARGIN)
    lines += [line(label, words, MARGIN) for label, words in (*_of_data(fit), *_asked(fit))]
    return "\n".join(lines)


def entries(fit: Any) -> list[tuple[str, str]]:
    """Return labels and texts of `text` without the kernel; a continued line has no label."""
    return [*_trust(fit), *_of_data(fit), *_asked(fit)]


def _trust(fit: Any) -> list[tuple[str, str]]:
    """Return entries of the text on the reliability of the solution."""
    if fit._certificate is None:
        otherwise = "a descent on a loss that is not squares has none"
        certificate = f"none: {fit.stats.get('no_certificate', otherwise)}"
    else:
        certificate = f"{_certificate_text(fit)}: {_exactness(fit)}"
    entries = [("certificate", certificate)]
    report = fit.identifiability
    if report is None:
        verdict = known_verdict(fit)
        return entries if verdict is None else [*entries, ("data", verdict)]
    entries.append(("data", f"{report.verdict}: {MEANING[report.verdict]}"))
    # With more unknowns, this would take longer than the solution did; the report has it.
    few = report.n_unknowns <= report.limits.spectrum_columns
    weak = weak_sentence(report) if few and report.unique and report.decided else ""
    return [*entries, ("", weak)] if weak else entries


def _exactness(fit: Any) -> str:
    """Explain the certificate."""
    assert fit._certificate is not None
    if fit.stats["certificate_kind"] == GAP:
        return "the objective is within that share of the least possible"
    exact = "exact" if fit._certificate <= EXACT else "not exact"
    return f"{exact} to rounding; it says nothing of noise in y"


def _of_data(fit: Any) -> list[tuple[str, str]]:
    """Return entries of the text on the bias and the fit of the training data."""
    entries, bias = [], np.asarray(fit.bias)
    if bias.any():
        words = np.array2string(bias, precision=6, threshold=24, max_line_width=10**6)
        entries.append(("bias", words))
    if fit.problem is not None:
        r2 = fit.score().r2[:MAX_OUTPUTS]
        words = ", ".join(f"{v:.6f}" if abs(v) < 1e3 else f"{v:.2g}" for v in r2)
        more = " …" if fit.kernel.shape[-1] > MAX_OUTPUTS else ""
        entries.append(("R² (in-sample)", words + more))
    errors = fit.affordable_errors()
    if errors is not None:
        entries.append(("standard error", _errors_text(fit, *errors)))
    return entries


def _errors_text(fit: Any, error: np.ndarray, dof: np.ndarray, noise: Noise) -> str:
    """Describe the standard errors and the noise model."""
    if not error[np.isfinite(error)].any() and not noise.variance.any():
        return "0: nothing is left of y but rounding"
    finite = error[np.isfinite(error)]
    words = span(finite.tolist()) + " a tap" if finite.size else "infinite"
    if finite.size and finite.size < error.size:
        words += " where it is determined"
    words += ", of the posterior" if fit.penalized else ""
    deviation, model = np.sqrt(noise.variance), fit._noise_model.assumption
    if noise.order is not None:
        model += f" of order {span(noise.order.tolist())}"
    if fit.stats.get("certificate_kind") == GAP:
        model = f"Huber's H1, {model}"
    # Where squares stay within float64.
    elif np.isfinite(deviation).all() and deviation.any():
        model += f", of deviation {span(deviation.tolist())}"
    return f"{words}, {model}; {span(dof.tolist())} degrees of freedom"


def _asked(fit: Any) -> list[tuple[str, str]]:
    """Return entries of the text on the request and the version of convsolve."""
    stats = fit.stats
    if "version" not in stats:
        return [("settings", "not recorded: the file is of version 1")]
    settings = ", ".join(f"{name} {value}" for name, value in stats["settings"].items())
    penalty = "none"
    if fit.regularization is not None:
        penalty = fit.regularization.text()
    elif stats["penalty"] is not None:
        strength = stats["penalty"]["strength"]
        several = isinstance(strength, list)
        amount = listed(strength) if several else f"{strength:g}"
        penalty = f"{stats['penalty']['kind']} of strength {amount}"
    entries = [("penalty", penalty), ("settings", settings or "none")]
    loss = stats.get("loss")
    if isinstance(loss, dict) and loss["kind"] != "SquaredLoss":
        entries.insert(0, ("loss", ", ".join(_named(loss))))
    entries.append(("convsolve", stats["version"]))
    if "rows" in stats:
        entries.insert(0, ("rows", stats["rows"]))
    return [("AutoSolver", stats["choice"]), *entries] if "choice" in stats else entries


def _named(loss: dict[str, Any]) -> list[str]:
    """Return the name of a loss, and its settings."""
    settings = (f"{name} {value}" for name, value in loss.items() if name != "kind")
    return [loss["kind"], *settings]


def _certificate_text(fit: Any) -> str:
    assert fit._certificate is not None
    return certificate_text(fit._certificate, fit.stats["certificate_kind"])


def known_verdict(fit: Any) -> str | None:
    """Return the verdict on the data if it was computed or saved."""
    if fit.identifiability is not None:
        return fit.identifiability.known_verdict
    saved = fit.stats.get("identifiability")
    return None if saved is None else str(saved["verdict"])


def brief(fit: Any) -> list[tuple[str, str]]:
    """Return labels and texts that need no computation."""
    shape = " × ".join(map(str, fit.kernel.shape))
    parts = [("", f"{fit.stats['solver']}: {fit.status}")]
    parts.append(("kernel", f"{shape} {fit.kernel.dtype}"))
    if fit._certificate is not None:
        parts.append(("certificate", _certificate_text(fit)))
    if (verdict := known_verdict(fit)) is not None:
        parts.append(("data", verdict))
    return parts


def certificate_text(value: float, kind: str) -> str:
    """A certificate as it is printed: below one rounding it is noise."""
    if kind == GAP:
        return f"relative duality gap {value:.1e}"
    if value < EPS:
        return "< 1 eps"
    sign = "≤ " if kind == "upper bound" else ""
    return f"{sign}{value / EPS:.3g} eps" if value < 1e4 * EPS else f"{sign}{value:.2g}"
