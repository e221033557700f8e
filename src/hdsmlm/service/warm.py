"""Imported once by the process that job processes are forked from, so that they start at once."""

from __future__ import annotations

import hdsmlm.pipelines.evaluate
import hdsmlm.pipelines.localize
import hdsmlm.pipelines.predict
import hdsmlm.service.run_job  # noqa: F401
