"""Processing of claimed chunks: through the pipeline, the comparison or the metadata writer, into SQL."""
