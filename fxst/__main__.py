"""Run the command line as `python -m fxst`."""

from fxst.cli import main

try:
    main()
finally:
    # Python remembers a Ctrl-C that left the `exec` of a text, as a dataclass is made by, even where it was answered,
    # and would end the process by that signal instead of with its exit code. The next `exec` makes it forget.
    exec("")
