"""Settings of all tests."""

from hypothesis import settings

# A test must not fail because other programs are running.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
