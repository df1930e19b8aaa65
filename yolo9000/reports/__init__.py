"""HTML reports about runs, from scorecards and training curves."""
