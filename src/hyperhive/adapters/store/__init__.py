"""The one durable place for facts: SQLite behind one writer, and a twin in memory."""
