"""Geometries of convolutions: some by name, and more at random, from a seed or by hypothesis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, strategies as st

import convsolve as cs
from support import dense

PADDINGS = (*dense.PADDINGS, "explicit")

# At most so many samples, taps and steps of dilation along each of one, two or three axes.
SMALL = {1: (24, 5, 3), 2: (6, 3, 2), 3: (4, 2, 2)}


@dataclass(frozen=True)
class Geometry:
    """How records are read, and the sizes around it; ``seed`` is that of the numbers in them."""

    spec: cs.ConvSpec
    shapes: tuple[tuple[int, ...], ...]  # (*W) of each record
    channels: int
    outputs: int
    bias: bool = False
    seed: int = 0

    @property
    def counts(self) -> list[tuple[int, ...]]:
        """The rows of each record along every axis."""
        return [dense.counts(shape, self.spec) for shape in self.shapes]

    @property
    def rows(self) -> int:
        return sum(map(math.prod, self.counts))

    @property
    def inputs(self) -> int:
        """The channels that an output reads."""
        return self.channels // self.spec.groups

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Of a batch, where records are alike."""
        return (len(self.shapes), *self.shapes[0], self.channels)

    @property
    def w_shape(self) -> tuple[int, ...]:
        return (*self.spec.kernel_size, self.inputs, self.outputs)

    def noise(self, dtype: type = float) -> tuple[Any, Any]:
        """White x and y: batches where records are alike, else lists."""
        rng = np.random.default_rng(self.seed)
        xs = [rng.standard_normal((*s, self.channels)).astype(dtype) for s in self.shapes]
        ys = [rng.standard_normal((*s, self.outputs)).astype(dtype) for s in self.counts]
        return (np.stack(xs), np.stack(ys)) if len(set(self.shapes)) == 1 else (xs, ys)

    def problem(self, x: Any, y: Any = None, bias: bool = False) -> cs.Problem:
        return cs.Problem(x, y, spec=self.spec, bias=bias, n_outputs=self.outputs)


def _drawn(
    integer: Callable[[int, int], int],
    ndim: int,
    padding: str,
    ragged: bool,
) -> Geometry:
    """A geometry whose every number is some ``integer(low, high)``, both included."""

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(integer(low, high) for _ in range(ndim))

    samples, most, widest = SMALL[ndim]
    taps, dilation, stride = each(1, most), each(1, widest), each(1, 3)
    pads: Any = padding
    if padding == "explicit":
        pads = tuple(zip(each(-3, 5), each(-3, 5)))
    records, groups, inputs = integer(1, 3), integer(1, 3), integer(1, 3)
    shapes = tuple(each(1, samples) for _ in range(records))
    # `same` with a stride refuses records of several lengths.
    if not ragged or (pads == "same" and max(stride) > 1):
        shapes = shapes[:1] * len(shapes)
    return Geometry(
        cs.ConvSpec(taps, stride, pads, dilation, groups),
        shapes,
        groups * inputs,
        groups * integer(1, 2),
        bool(integer(0, 1)),
        integer(0, 2**32 - 1),
    )


def random_geometry(
    rng: np.random.Generator,
    ndim: int,
    padding: str,
    *,
    ragged: bool = False,
    min_rows: int = 1,
) -> Geometry:
    """The first of some draws that gives ``min_rows`` rows; records are alike unless ``ragged``."""

    def integer(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    draws = (_drawn(integer, ndim, padding, ragged) for _ in range(1000))
    return next(made for made in draws if made.rows >= min_rows)


@st.composite
def geometries(
    draw: Any,
    min_rows: int = 1,
    ragged: bool = False,
    ndim: int | None = None,
    padding: str | None = None,
) -> Geometry:
    """Any small geometry in one to three dimensions; records are alike unless ``ragged``."""
    ndim = draw(st.integers(1, 3)) if ndim is None else ndim
    padding = draw(st.sampled_from(PADDINGS)) if padding is None else padding
    made = _drawn(lambda a, b: draw(st.integers(a, b)), ndim, padding, ragged)
    assume(made.rows >= min_rows)
    return made


def over_geometries(
    many: int, min_rows: int = 1, compiles: bool = False
) -> Callable[[Callable[[Geometry], None]], Any]:
    """Run ``test(geometry)`` for ``many`` random ones in each dimension with each padding.

    Without slow tests it is one in each; of a test that ``compiles`` for every geometry, one with
    each padding. All tests see the same geometries: what one has compiled, another finds.
    """
    cases = []
    for (number, padding), ndim in itertools.product(enumerate(PADDINGS), (1, 2, 3)):
        few = int(not compiles or ndim == 1 + number % 3)
        if few:
            cases.append(pytest.param(ndim, padding, range(few), id=f"{ndim}-{padding}"))
        if many > few:
            rest, name = range(few, many), f"{ndim}-{padding}-rest"
            cases.append(pytest.param(ndim, padding, rest, id=name, marks=pytest.mark.slow))

    def decorate(test: Callable[[Geometry], None]) -> Any:
        @pytest.mark.parametrize(("ndim", "padding", "seeds"), cases)
        def run(ndim: int, padding: str, seeds: range) -> None:
            for seed in seeds:
                rng = np.random.default_rng([ndim, PADDINGS.index(padding), seed])
                test(random_geometry(rng, ndim, padding, min_rows=min_rows))

        run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
        run.__module__ = test.__module__
        return run

    return decorate


# Chosen so that white x determines the kernel well, except where a name says "wide".
NAMED = {
    "blocks": Geometry(cs.ConvSpec(5), ((90,),) * 2, 2, 1),
    "one tap": Geometry(cs.ConvSpec(1), ((40,),), 3, 2, bias=True),
    "bias": Geometry(cs.ConvSpec(4, padding="full"), ((70,),), 2, 2, bias=True),
    "stride": Geometry(cs.ConvSpec(7, 3), ((90,),) * 2, 2, 1),
    "beyond the kernel": Geometry(cs.ConvSpec(3, 5), ((90,),), 1, 1, bias=True),
    "dilation": Geometry(cs.ConvSpec(4, 1, "causal", 3), ((61,),), 2, 1, bias=True),
    "both": Geometry(cs.ConvSpec(4, 4, dilation=6), ((150,),), 1, 2),
    "groups": Geometry(cs.ConvSpec(3, padding="same", groups=3), ((40,),) * 2, 6, 3, bias=True),
    "circular": Geometry(cs.ConvSpec(6, padding="circular"), ((25,),) * 3, 1, 1),
    "cropped": Geometry(cs.ConvSpec(3, padding=((-4, 2),)), ((50,),), 2, 1),
    "short": Geometry(cs.ConvSpec(9), ((11,),) * 20, 2, 1, bias=True),
    "ragged": Geometry(cs.ConvSpec(4, padding="full"), ((30,), (20,), (2,)), 2, 2, bias=True),
    "image": Geometry(cs.ConvSpec((2, 5), (2, 1), "same"), ((13, 30),) * 2, 2, 2, bias=True),
    "volume": Geometry(cs.ConvSpec((2, 3, 2), dilation=(1, 2, 1)), ((8, 11, 7),), 1, 1),
    "wide": Geometry(cs.ConvSpec(5), ((8,),), 2, 2),
    "wide, bias": Geometry(cs.ConvSpec(12), ((20,),), 2, 2, bias=True),
}
