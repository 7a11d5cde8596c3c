"""The page that can be sent: what it says, that it is whole, and that a browser opens it alone."""

import json
import shutil
import subprocess
from copy import copy
from html.parser import HTMLParser

import numpy as np
import pytest

import convsolve as cs
from convsolve.datasets import event_related_fmri
from convsolve.html_report import python_call
from support.pictures import noise

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Its tags, which must close in order, its text, and the addresses it asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.addresses, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "\n".join(self.words)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(fit, tmp_path, *held_out, **options):
    path = tmp_path / "fit.html"
    fit.report(path, *held_out, **options, force=True)
    assert path.stat().st_size < 2e6
    return Page(path.read_text(encoding="utf-8"))


def headlines(page):
    order = ["The answer", "The call", "The data", "What the data determine", "The kernel",
             "The penalty", "Prediction and y", "Residuals", "The iteration"]  # fmt: skip
    return [title for title in order if title in page.words]


def stated(rows=600, **about):
    x = noise(rows, 2)
    kernel = noise(6, 2, 3, seed=1)
    y = cs.convolve(x, kernel, cs.ConvSpec(6, padding="causal")) + noise(rows, 3, seed=2)
    about = {"fs": 100, "channels": ["on", "off"], "outputs": ["Fz", "Cz", "Pz"]} | about
    return cs.Problem.from_lags(x, y, lags=(0, 5), **about)


@pytest.fixture(scope="module")
def chosen():
    return cs.solve(stated(), cs.Regularized())


@pytest.fixture(scope="module")
def page(chosen, tmp_path_factory):
    x, y = noise(200, 2, seed=8), noise(200, 3, seed=9)
    return page_of(chosen, tmp_path_factory.mktemp("page"), x, y)


def test_a_page_says_all_that_the_text_does(chosen, page):
    assert headlines(page) == [
        "The answer", "The call", "The data", "What the data determine", "The kernel",
        "The penalty", "Prediction and y", "Residuals",
    ]  # fmt: skip
    for label, words in chosen.entries() + chosen.identifiability.entries():
        assert label in page.words or not label
        assert words in page.words
    assert chosen.regularization.text() + "." in page.words
    assert page.named("html") == [{"lang": "en"}]
    assert "A kernel of 6 taps, 2 channels, 3 outputs" in page.words


def test_a_page_has_scores_and_the_largest_tap_of_every_kernel(chosen, page):
    r2 = chosen.score().r2
    held_out = chosen.score(noise(200, 2, seed=8), noise(200, 3, seed=9)).r2
    for o, name in enumerate(["Fz", "Cz", "Pz"]):
        at = page.words.index(name, page.words.index("R² on data it has not seen"))
        cells = [word for word in page.words[at : at + 8] if word.strip()]
        assert cells[1] == f"{held_out[o]:.4f}"
        assert f"{r2[o]:.4f}" in cells
    for c, channel in enumerate(("on", "off")):
        for o in range(3):
            lag = int(np.abs(chosen.impulse_response[:, c, o]).argmax())
            row = [channel, ["Fz", "Cz", "Pz"][o],
                   f"{chosen.impulse_response[lag, c, o]:.4g}", str(10 * lag)]  # fmt: skip
            assert any(page.words[i : i + 4] == row for i in range(len(page.words)))


def test_what_is_of_a_posterior_is_named_so(page):
    assert "posterior deviation" in page.words
    assert "standard error" in page.words  # the label, whose words say of the posterior
    assert "The posterior deviations of taps hold if the noise is white." in page.words


def test_a_page_shows_pictures_that_are_part_of_it(page):
    pictures = page.named("img")
    assert len(pictures) == 9
    assert all(p["src"].startswith("data:image/png;base64,iVBOR") and p["alt"] for p in pictures)


def test_a_page_asks_for_nothing(page):
    assert all(address.startswith("data:") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    policy = page.named("meta")[1]["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_call_can_be_read_in_python(chosen, page):
    code = page.words[page.words.index("The call") + 1]
    problem = chosen.identifiability.problem
    scope = {"cs": cs, "x": problem.x[0], "y": noise(600, 3)}
    exec(code.splitlines()[0], scope)
    assert scope["problem"].recipe == problem.recipe
    assert code.splitlines() == [
        "problem = cs.Problem.from_lags(x, y, lags=(0, 5), edges='drop', fs=100.0, "
        "channels=['on', 'off'], outputs=['Fz', 'Cz', 'Pz'])",
        "fit = cs.solve(problem, cs.Regularized(…))",
        "# penalty ridge",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "about",
    [
        {"kernel_size": (3, 3), "padding": "same"},
        {"kernel_size": (2, 3), "stride": (1, 2), "bias": True},
        {"kernel_size": (2, 2), "padding": ((1, 0), (2, 1)), "dilation": 2},
    ],
)
def test_the_call_of_a_layer_states_the_same_problem(about, tmp_path):
    x = noise(20, 20)
    rows = cs.Problem(x, **about).spec.output_shape((20, 20))
    problem = cs.Problem(x, noise(*rows, seed=1), **about)
    found = page_of(cs.solve(problem), tmp_path)
    line = found.words[found.words.index("The call") + 1].splitlines()[0]
    given = ", ".join(f"{name}={value!r}" for name, value in about.items())
    assert line == f"problem = cs.Problem(x, y, {given})"
    assert "What x excites" not in found.text


def test_a_solver_of_another_library_is_no_call(chosen):
    fit = copy(chosen)
    fit.stats = chosen.stats | {"solver": "mTRFpy"}
    assert python_call(fit).splitlines()[1:] == ["# solved by mTRFpy", "# penalty ridge"]


@pytest.mark.slow
def test_whatever_made_the_fit_is_shown_instead(chosen, tmp_path):
    found = page_of(chosen, tmp_path, call="convsolve solve a.npz", title="<Trial> & error")
    assert "convsolve solve a.npz" in found.words
    assert found.words.count("<Trial> & error") == 2  # the title and the headline


@pytest.mark.slow
def test_undetermined_data_are_warned_of(tmp_path):
    x = np.sin(0.3 * np.arange(200))
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(cs.Problem.from_lags(x, x, lags=(0, 9)))
    found = page_of(fit, tmp_path)
    warned = [attrs for attrs in found.named("p") if attrs.get("class") == "warning"]
    assert len(warned) == 1
    for remedy in fit.identifiability.remedies:
        assert remedy in found.words
    assert "Singular values, and which taps are determined." in [
        p["alt"] for p in found.named("img")
    ]


@pytest.mark.slow
def test_correlated_residuals_are_noted(tmp_path):
    steps = noise(3000, 2)
    slow = np.array([np.convolve(s, 0.9 ** np.arange(50))[:3000] for s in steps.T])
    fit = cs.solve(cs.Problem.from_lags(slow[0], slow[1], lags=(0, 5)))
    with pytest.warns(UserWarning, match="are correlated in time"):
        found = page_of(fit, tmp_path)
    notes = [word for word in found.words if word.startswith("Note: the residuals of output 0")]
    assert len(notes) == 1
    # It is noted again where Python has warned before.
    assert any(word.startswith("Note: ") for word in page_of(fit, tmp_path).words)


@pytest.mark.slow
def test_an_iteration_shows_its_loss(tmp_path):
    fit = cs.solve(cs.Problem(noise(60), noise(58, seed=1), kernel_size=3), cs.GradientDescent())
    assert headlines(page_of(fit, tmp_path))[-1] == "The iteration"


@pytest.mark.slow
@pytest.mark.parametrize(
    "solver", [cs.Huber(), cs.LeastAbsolute(), cs.Lasso(), cs.FFTDeconvolution()]
)
def test_every_kind_of_answer_has_a_page(solver, tmp_path):
    fit = cs.solve(cs.Problem.from_lags(noise(200), noise(200, seed=1), lags=(0, 3)), solver)
    assert fit.stats["solver"] in page_of(fit, tmp_path).text


@pytest.mark.slow
def test_a_loaded_solution_has_what_takes_no_data(chosen, tmp_path):
    chosen.save(tmp_path / "fit.npz")
    found = page_of(cs.load(tmp_path / "fit.npz"), tmp_path)
    assert headlines(found) == ["The answer", "The call", "The kernel", "The penalty"]
    x, y = noise(200, 2, seed=8), noise(200, 3, seed=9)
    found = page_of(cs.load(tmp_path / "fit.npz"), tmp_path, x, y)
    assert headlines(found)[-1] == "Prediction and y"
    assert f"{chosen.score(x, y).r2[2]:.4f}" in found.words


@pytest.mark.slow
def test_a_page_is_not_written_over_another(chosen, tmp_path):
    path = tmp_path / "fit.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        chosen.report(path)
    assert path.read_text() == "mine"
    with pytest.raises(ValueError, match="y was given without x"):
        chosen.report(tmp_path / "other.html", None, noise(3))
    assert not (tmp_path / "other.html").exists()


@pytest.mark.slow
def test_a_dark_style_leaves_the_page_light(chosen, page, tmp_path):
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "black", "text.color": "white"}):
        dark = page_of(chosen, tmp_path)
    x, y = noise(200, 2, seed=8), noise(200, 3, seed=9)
    kernels = [
        next(p["src"] for p in found.named("img") if p["alt"].startswith("The kernel"))
        for found in (dark, page_of(chosen, tmp_path, x, y))
    ]
    assert kernels[0] == kernels[1]


def test_notebooks_show_what_is_known(chosen):
    shown = Page(chosen._repr_html_())
    assert "Regularized(ridge, gcv): solved" in shown.words
    assert "6 × 2 × 3 float64" in shown.words
    report = Page(cs.identify(stated(rows=80))._repr_html_())
    assert "not computed yet" in report.words
    table = cs.compare(stated(rows=80), [cs.LeastSquares(), cs.NormalEquations()])
    cells = Page(table._repr_html_())
    assert cells.named("th") == [{"scope": "col"}] * len(cells.named("th"))
    assert "LeastSquares(svd)" in cells.words


@pytest.mark.slow
def test_names_are_no_html(tmp_path):
    fit = cs.solve(stated(channels=["<b>on</b>", "a & b"]))
    assert "<b>on</b>, a & b" in page_of(fit, tmp_path).words


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def opened(path, tmp_path):
    """What a page says on the console, and the addresses that it asks for, on a small screen."""
    log, shot = tmp_path / "net.json", tmp_path / "page.png"
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            f"--log-net-log={log}", "--window-size=400,3000", f"--screenshot={shot}",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert shot.stat().st_size > 1000
    params = [e.get("params", {}) for e in json.loads(log.read_text())["events"]]
    # What the browser looks up by itself has no page as its origin.
    asked = {p["url"] for p in params if p.get("initiator", "not an origin") != "not an origin"}
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return said, {url for url in asked if not url.startswith("data:")}


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("data", ["fmri", "trf"])
def test_a_browser_opens_the_page_and_asks_for_nothing(data, tmp_path):
    if data == "fmri":
        events, bold = event_related_fmri()
        problem = cs.Problem.from_lags(events, bold, lags=(0, 14), edges="zeros", fs=0.5)
    else:
        x, y = noise(6000, 16), noise(6000, 32, seed=1)
        problem = cs.Problem.from_lags(x, y, lags=(0, 39), fs=128)
    path = tmp_path / "fit.html"
    cs.solve(problem, cs.Regularized()).report(path)
    assert path.stat().st_size < 2e6
    assert opened(path, tmp_path) == ([], set())


@pytest.mark.slow
@in_a_browser
def test_a_page_that_asks_would_be_noticed(tmp_path):
    address = "http://127.0.0.1:9/x.png"
    path = tmp_path / "asks.html"
    path.write_text(f"<script>console.error('seen')</script><img src='{address}'>")
    said, asked = opened(path, tmp_path)
    assert any("seen" in line for line in said)
    assert address in asked
