"""The page that can be sent: its text, and that it is complete and asks for no other file."""

from html.parser import HTMLParser

import numpy as np
import pytest

import convsolve as cs
from convsolve.html_report import python_call
from support.pictures import noise

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Its tags, which must close in order, its text, and the addresses it asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.addresses, self.tags, self.headlines = [], [], [], [], []
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
        if self.open[-1:] == ["h2"]:
            self.headlines.append(data)

    @property
    def text(self):
        return "\n".join(self.words)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(fit, tmp_path, *held_out, **options):
    path = tmp_path / "fit.html"
    fit.to_html(path, *held_out, **options, overwrite=True)
    assert path.stat().st_size < 2e6
    return Page(path.read_text(encoding="utf-8"))


def data(rows):
    x = noise(rows, 2)
    kernel = noise(6, 2, 3, seed=1)
    return x, cs.convolve(x, kernel, cs.ConvSpec(6, padding="causal")) + noise(rows, 3, seed=2)


def stated(rows=600, **about):
    x, y = data(rows)
    about = {"fs": 100, "channels": ["on", "off"], "outputs": ["Fz", "Cz", "Pz"]} | about
    return cs.Problem(x, y, lags=(0, 5), **about)


@pytest.fixture(scope="module")
def chosen():
    return cs.solve(stated(), penalty="ridge")


@pytest.fixture(scope="module")
def page(chosen, tmp_path_factory):
    x, y = noise(200, 2, seed=8), noise(200, 3, seed=9)
    return page_of(chosen, tmp_path_factory.mktemp("page"), x, y)


def test_a_page_has_the_text_of_the_solution_and_needs_no_other_file(chosen, page):
    assert page.headlines == [
        "Summary", "Impulse response", "Fit to the data", "Residuals and noise", "Penalty",
        "Identifiability", "Data", "Code to repeat the fit",
    ]  # fmt: skip
    for label, words in chosen._entries() + chosen.identifiability._entries():
        assert label in page.words or not label
        assert words in page.words
    assert str(chosen.regularization) + "." in page.words
    assert page.named("html") == [{"lang": "en"}]
    pictures = page.named("img")
    assert len(pictures) == 9
    assert all(p["src"].startswith("data:image/png;base64,iVBOR") and p["alt"] for p in pictures)
    assert all(address.startswith("data:") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert page.words[page.words.index("Code to repeat the fit") + 1].splitlines() == [
        "problem = cs.Problem(x, y, lags=(0, 5), edges='drop', fs=100.0, "
        "channels=['on', 'off'], outputs=['Fz', 'Cz', 'Pz'])",
        "fit = cs.solve(problem, penalty='ridge')",
        "# 595 of 600 samples; excluded: 5 at the edges",
    ]
    policy = page.named("meta")[1]["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_page_warns_of_undetermined_data_and_escapes_names(tmp_path):
    x = np.sin(0.3 * np.arange(200))
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(cs.Problem(x, x, lags=(0, 9), channels=["<b>on</b>"]))
    found = page_of(fit, tmp_path)
    assert "<b>on</b>" in " ".join(found.words)
    assert [p.get("class") for p in found.named("p")].count("warning") == 1
    assert "not determined" in found.words
    suggestions = [*map(str, fit.identifiability.suggestions)]
    assert len(suggestions) > 1
    assert {f"{i}. {words}" for i, words in enumerate(suggestions, 1)} <= {*found.words}
    alt = "Singular values, and which taps are determined."
    assert alt in [p["alt"] for p in found.named("img")]


def test_a_page_says_that_a_descent_has_not_converged(tmp_path):
    x = noise(60, 5, 4, 1)
    image = cs.Problem(x, x[..., :1], lags=[(0, 1), (0, 1)])
    fit = cs.solve(image, cs.GradientDescent(steps=3))
    found = page_of(fit, tmp_path, x[:9], np.zeros((9, 5, 4, 1)))
    assert found.headlines[-3:] == ["Data", "Iteration", "Code to repeat the fit"]
    assert "not exact: GradientDescent ended as max steps." in found.text
    assert "on new data is" not in found.text  # y is constant


@pytest.mark.slow
def test_a_page_of_a_loaded_solution_has_no_data(chosen, tmp_path):
    chosen.save(tmp_path / "fit.npz")
    fit, new = cs.load(tmp_path / "fit.npz"), (noise(200, 2, seed=8), noise(200, 3, seed=9))
    for data, scores in (((), []), (new, ["Fit to the data"])):
        found = page_of(fit, tmp_path, *data)
        titles = ["Summary", "Impulse response", *scores, "Penalty", "Code to repeat the fit"]
        assert found.headlines == titles
    assert f"{chosen.score(*new).r2[2]:.4f}" in found.words


def test_notebooks_show_solutions_and_reports(chosen):
    shown = Page(chosen._repr_html_())
    kernel = "2 channels (on, off) to 3 outputs (Fz, Cz, Pz), 6 lags from 0 to 50 ms"
    assert {"solved", kernel} <= set(shown.words)
    assert "not computed yet" in Page(cs.identify(stated(rows=80))._repr_html_()).words


# --- the call


CIRCULAR = cs.ConvSpec(3, padding="circular", lo=2)
REPEATED = {
    "circular": {},
    "bands": {"penalty": cs.Ridge([[1, 2, 3], [4, 5, 6]], channel_groups=(0, 1))},
    "windows": {},
}


@pytest.mark.parametrize("gaps", [False, True], ids=["same rows", "other rows"])
@pytest.mark.parametrize("name", REPEATED)
def test_the_call_repeats_the_fit(name, gaps):
    x, y = data(200)
    if gaps:
        y[:20, 1] = np.nan
    geometry = {"spec": CIRCULAR} if name == "circular" else {"lags": (0, 5)}
    if name == "windows":
        geometry = {"lags": {0: (0, 5), 1: (-2, 1)}, "basis": {0: cs.BSplines(4, degree=2)}}
    given = cs.Problem(x, y, **geometry, missing="drop" if gaps else "raise")
    fit = cs.solve(given, **REPEATED[name])
    scope = {"cs": cs, "x": x, "y": y}
    exec(python_call(fit), scope)
    assert scope["problem"]._recipe == given._recipe
    np.testing.assert_array_equal(scope["fit"].kernel, fit.kernel)
    assert scope["fit"].stats["call"] == fit.stats["call"]
    assert scope["fit"].stats.get("penalty") == fit.stats.get("penalty")
