"""The console program `dclip`: one module a command."""

import stages  # noqa: F401  sets the environment of everything that is imported later
