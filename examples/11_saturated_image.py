"""
A point-spread function from a saturated image
==============================================

A sharp image and a blurred one whose brightest pixels are clipped.

A camera clips bright pixels. If they are used in the fit, they bias the whole point-spread
function. A mask excludes them. The noise is small here. If the noise decided which pixels saturate,
excluding them would also bias the result.

Run: ``python examples/11_saturated_image.py [PICTURE.png]``
"""

import numpy as np
from matplotlib.figure import Figure

import convsolve as cs

SIDE, TAPS, NOISE = 256, 9, 0.005

# %%
# A field of stars
# ----------------


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A field of stars, its blurred and clipped picture, and the true point-spread function."""
    rng = np.random.default_rng(0)
    sharp = rng.exponential(1.0, (SIDE, SIDE)) * (rng.random((SIDE, SIDE)) < 0.1)
    r = np.arange(TAPS) - TAPS // 2
    spread = np.exp(-(r[:, None] ** 2 / 8 + (r + 0.5 * r[:, None]) ** 2 / 5))
    spread /= spread.sum()
    blurred = cs.convolve(sharp, spread, cs.ConvSpec((TAPS, TAPS)))
    blurred += NOISE * rng.standard_normal(blurred.shape)
    return sharp, np.minimum(blurred, np.quantile(blurred, 0.95)), spread


sharp, clipped, spread = scene()
ceiling = clipped.max()
images = Figure(figsize=(7.2, 2.6), layout="constrained")
half = TAPS // 2
seen = (
    ("sharp", sharp[half : half + 100, half : half + 100], "gray"),
    ("blurred and clipped", clipped[:100, :100], "gray"),
    ("saturated pixels", clipped[:100, :100] >= ceiling, "gray_r"),
)
for axes, (title, image, colours) in zip(images.subplots(1, 3), seen, strict=True):
    axes.imshow(image, cmap=colours, vmax=ceiling if colours == "gray" else None)
    axes.set_title(title)
    axes.set_axis_off()

# %%
# With and without the saturated pixels
# -------------------------------------

given = {"kernel_size": (TAPS, TAPS), "bias": True}
unmasked = cs.solve(cs.Problem(sharp, clipped, **given))
problem = cs.Problem(sharp, clipped, mask=clipped < ceiling, **given)
print(problem)
masked = cs.solve(problem)
print("\nrelative error of the point-spread function, and of its sum")
for name, fit in (("every pixel", unmasked), ("saturated ones excluded", masked)):
    found = fit.kernel[..., 0, 0]
    error = np.linalg.norm(found - spread) / np.linalg.norm(spread)
    print(f"  {name:24s} {error:7.2%} {found.sum() - 1:+7.2%}")
inside = np.abs(masked.impulse_response - spread[::-1, ::-1]) <= 2 * masked.standard_error
print(f"taps within two standard errors of the truth: {inside.mean():.0%}")

# %%

figure = Figure(figsize=(7.2, 2.6), layout="constrained")
parts = (spread, unmasked.kernel[..., 0, 0], masked.kernel[..., 0, 0])
titles = ("true", "every pixel", "saturated pixels excluded")
for axes, part, title in zip(figure.subplots(1, 3), parts, titles, strict=True):
    shown = axes.imshow(part, vmin=0, vmax=spread.max())
    axes.set_title(title, fontsize="medium")
    axes.set_axis_off()
bar = figure.colorbar(shown, ax=figure.axes, label="point-spread function")

# %%
# :func:`convsolve.plot` shows the kernel as an image, and the prediction against y pixel by pixel.

drawn = cs.plot(masked)

# sphinx_gallery_thumbnail_number = 2
# sphinx_gallery_start_ignore
import sys  # noqa: E402

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
# sphinx_gallery_end_ignore
