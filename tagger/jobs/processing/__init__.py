"""A claimed chunk through the pipeline or the metadata writer into SQL."""
