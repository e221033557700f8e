"""``python -m hdsmlm`` is the ``hdsmlm`` program."""

from hdsmlm.cli.main import run

run()
