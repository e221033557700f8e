"""From movie and bundle to count map and emitters."""
