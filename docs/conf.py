"""Settings of Sphinx for the documentation. See docs/README.md for the commands."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))
# Set before Keras is imported: outputs of the pages are computed on one device in float64.
os.environ.setdefault("KERAS_BACKEND", "jax")

import shell  # noqa: E402

import convsolve  # noqa: E402

project = "convsolve"
author = "The convsolve developers"
project_copyright = author
release = version = convsolve.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "links",
    "mathml",
    "references",
    "shell",
]
exclude_patterns = ["README.md", "_build"]
nitpicky = True
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

doctest_global_setup, doctest_global_cleanup = shell.SETUP, shell.CLEANUP

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\d\d_\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("figures.scraper",),
    "ignore_repr_types": r"matplotlib",
    "capture_repr": (),
    "download_all_examples": False,
    "min_reported_time": 3600,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "thumbnail_size": (560, 392),
    "doc_module": ("convsolve",),
    "backreferences_dir": "gallery/of",
    "inspect_global_variables": False,
}
suppress_warnings = ["config.cache"]

html_theme = "pydata_sphinx_theme"
html_title = "convsolve"
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["convsolve.css"]
# Pages without pages below them need no list of pages.
html_sidebars = {
    page: [] for page in ("index", "install", "tour", "coming_from", "mathematics", "limits")
}
html_show_sourcelink = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def setup(app) -> None:
    # In a separate process, because pages import modules that this process should not import.
    subprocess.run([sys.executable, HERE / "pictures.py"], check=True, stdout=subprocess.DEVNULL)
