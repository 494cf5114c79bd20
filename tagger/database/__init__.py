"""The SQL database: tables, connection, statements, schema, diagnostics, and the audit log."""
