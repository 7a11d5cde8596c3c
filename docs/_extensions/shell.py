"""A ``testshell`` block: commands that are shown as such, and that the doctest builder executes."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.ext.doctest import TestcodeDirective

# What runs before every page: commands run in an empty folder, and print where doctest looks.
SETUP = """
import os, subprocess, sys, tempfile
def _shell(commands):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], text=True, encoding="utf-8",
        capture_output=True, env=os.environ | {"PATH": path, "PYTHONIOENCODING": "utf-8"},
    )
    sys.stdout.write(done.stdout)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr}")
_before, _folder = os.getcwd(), tempfile.TemporaryDirectory()
os.chdir(_folder.name)
"""
CLEANUP = """
os.chdir(_before)
_folder.cleanup()
"""


class TestShell(TestcodeDirective):
    """As ``testcode``, of bash: the block fails where a command does."""

    def run(self) -> list[nodes.Node]:
        self.name = "testcode"
        (node,) = super().run()
        assert isinstance(node, nodes.Element)
        node["test"] = f"_shell({node.astext()!r})"
        node["language"] = "sh"
        return [node]


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("testshell", TestShell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
