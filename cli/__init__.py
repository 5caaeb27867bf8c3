"""The command line. Ctrl-C is heeded from here on: what is still to be imported takes a moment."""

import sys

from behavsql.cli import ctrl_c

_program = sys.argv[0] if sys.argv else ""  # "-m" while `python -m behavsql.cli.main` looks for it
if _program == "-m" or "behavsql" in _program.replace("\\", "/").rpartition("/")[2]:
    ctrl_c.heed()  # who imports us as a library keeps its own handler
