"""The parts of `bench.gpu`: its photos, the model alone, jobs of `tagger tag` and of workers, faults, and the report."""
