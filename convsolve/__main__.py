# PYTHON_ARGCOMPLETE_OK
"""``convsolve`` and ``python -m convsolve``: the command line."""

import sys


def main() -> int:
    """Run the command of ``sys.argv``; Ctrl-C is answered from its first import on."""
    try:
        from .cli.main import main as run

        return run()
    except KeyboardInterrupt:
        print("convsolve: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
