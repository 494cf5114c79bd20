"""The exported model and what runs it: artifact, devices, backends, predictions. Knows nothing of SQL."""
