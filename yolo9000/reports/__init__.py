"""From scorecards to HTML pages."""
