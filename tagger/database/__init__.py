"""The SQL database: tables, connection, integrity checks, diagnostics, export and import."""
