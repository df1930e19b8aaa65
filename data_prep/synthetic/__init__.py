"""Generated data sets: scenes of emoji, mosaics of photographs."""
