"""The tables and charts that the commands print."""
