"""`python -P -m tagger`, the same as `tagger`. Without -P, Python imports from the working directory first."""

from tagger.cli.main import main

main()
