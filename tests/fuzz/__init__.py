"""Fuzzing: every reader of files and texts gets damaged and hostile inputs; CONTRIBUTING.md says how to run it."""
