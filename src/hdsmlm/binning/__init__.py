"""Decorrelated temporal binning: from a sparse movie to a dense one whose emitters are known.

Sequences of frames that lie further apart than a blink lasts are added in photo-electrons
(:mod:`~hdsmlm.binning.adding`); how far that is, the movie tells
(:mod:`~hdsmlm.binning.correlation`). All but one background leave the sum
(:mod:`~hdsmlm.binning.background`), and the localizations of the sparse frames become its labels,
sound or doubtful (:mod:`~hdsmlm.binning.sound`). :mod:`~hdsmlm.binning.folder` reads what
``hdsmlm bin`` wrote.
"""
