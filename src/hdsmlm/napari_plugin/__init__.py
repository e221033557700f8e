"""The napari plugin: readers for movies, tables, count maps and result folders, and two widgets.

``napari.yaml`` tells napari what there is (npe2). Nothing here is imported before napari asks for
it, and only :mod:`~hdsmlm.napari_plugin.widgets` needs napari's own libraries: the rest turns
files into napari's layer tuples, which are plain tuples.
"""
