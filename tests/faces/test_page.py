"""The page that can be sent: its text, and that it is complete and asks for no other file."""

from html.parser import HTMLParser

import numpy as np
import pytest

import convsolve as cs
from convsolve.facts import DATA
from support.pictures import noise


class Page(HTMLParser):
    """Its words, headlines and tags, which must close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.tags, self.headlines = [], [], [], []
        self.feed(text)
        self.text = "\n".join(self.words)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open += [tag] * (tag not in ("meta", "img", "br"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        self.headlines += [data] * (self.open[-1:] == ["h2"])


def page_of(fit, tmp_path, *held_out):
    fit.to_html(tmp_path / "fit.html", *held_out, overwrite=True)
    text = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert len(text) < 2e6
    return Page(text)


def stated(rows=600, **about):
    x, kernel = noise(rows, 2), noise(6, 2, 3, seed=1)
    y = cs.convolve(x, kernel, cs.ConvSpec(6, padding="causal")) + noise(rows, 3, seed=2)
    about = {"fs": 100, "channels": ["on", "off"], "outputs": ["Fz", "Cz", "Pz"]} | about
    return cs.Problem(x, y, lags=(0, 5), **about)


@pytest.fixture(scope="module")
def chosen():
    return cs.solve(stated(), penalty="ridge")


NEW = noise(200, 2, seed=8), noise(200, 3, seed=9)
HEADLINES = [
    "Summary", "Impulse response", "Fit to the data", "Residuals and noise", "Penalty",
    "Identifiability", "Data", "Call",
]  # fmt: skip


def test_a_page_has_the_facts_of_the_solution_and_needs_no_other_file(chosen, tmp_path):
    page = page_of(chosen, tmp_path, *NEW)
    assert page.headlines == HEADLINES
    for fact in chosen.facts():
        if fact.shown != DATA and isinstance(fact.text, str):
            assert fact.text in page.text
    assert f"{chosen.score(*NEW).r2[0]:.3f}" in page.text
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(p["src"].startswith("data:image/png;base64,iVBOR") and p["alt"] for p in pictures)
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    assert "cs.solve(problem, penalty='ridge')" in page.text


def test_a_page_warns_of_undetermined_data_and_escapes_names(tmp_path):
    x = np.sin(0.3 * np.arange(200))
    with pytest.warns(cs.IdentifiabilityWarning):
        fit = cs.solve(cs.Problem(x, x, lags=(0, 9), channels=["<b>on</b>"]))
    found = page_of(fit, tmp_path)
    assert "<b>on</b>" in " ".join(found.words)
    assert "not determined" in found.text
    assert all(str(one) in found.text for one in fit.identifiability.suggestions)


def test_a_page_says_that_a_descent_has_not_converged(tmp_path):
    x = noise(60, 5, 4, 1)
    image = cs.Problem(x, x[..., :1], lags=[(0, 1), (0, 1)])
    fit = cs.solve(image, cs.GradientDescent(steps=3))
    found = page_of(fit, tmp_path, x[:9], np.zeros((9, 5, 4, 1)))
    assert found.headlines[-3:] == ["Data", "Iteration", "Call"]
    assert "max steps; the data determine" in found.text


@pytest.mark.slow
def test_a_page_of_a_loaded_solution_has_no_data(chosen, tmp_path):
    chosen.save(tmp_path / "fit.npz")
    fit = cs.load(tmp_path / "fit.npz")
    for data, scores in (((), []), (NEW, ["Fit to the data"])):
        titles = [*HEADLINES[:2], *scores, "Penalty", HEADLINES[-1]]
        assert page_of(fit, tmp_path, *data).headlines == titles
