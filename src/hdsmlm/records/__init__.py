"""Records that travel between the stages: emitters, movies, count maps, events, provenance."""
