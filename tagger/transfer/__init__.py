"""Moving a database: exporting all of it, and importing it into an empty one, where nothing of it runs by itself."""
