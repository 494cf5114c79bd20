"""Recognises landmarks in photos: scans, decodes, classifies and stores."""

from tagger.system.working_directory import protect_imports

# Here, because no program may forget it: worker and trainer import this package before torch and matplotlib, too.
protect_imports()
