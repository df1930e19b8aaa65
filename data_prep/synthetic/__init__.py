"""Generated data sets: scenes of emoji, scenes of photographs."""
