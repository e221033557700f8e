"""hdsmlm: detect and count emitters in dense single-molecule localization microscopy movies.

The data flow, a file between stages::

    RunConfig -> simulate -> Movie + Emitters -> label -> train -> ModelBundle
    Movie + ModelBundle -> predict -> CountMap -> decode -> Emitters -> evaluate -> Report

``import hdsmlm`` loads no heavy library; import the stage that you need, e.g.
``from hdsmlm.pipelines.predict import predict_movie``.
"""

__version__ = "0.1.0"
