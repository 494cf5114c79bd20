"""`python -P -m tagger`, the same as `tagger`. Without -P, Python also imports from the working directory."""

from tagger.cli.main import main

main()
