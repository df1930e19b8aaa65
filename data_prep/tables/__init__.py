"""Output of the commands: tables, charts, JSON."""
