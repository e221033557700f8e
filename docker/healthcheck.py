"""Ask the server whether it is well; exit code 1 when it is not. The image has no curl."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request

url = f"http://127.0.0.1:{os.environ.get('HDSMLM_PORT', '8765')}/api/v1/health"
token = os.environ.get("HDSMLM_TOKEN")
request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
try:
    with urllib.request.urlopen(request, timeout=4) as answer:
        health = json.load(answer)
except urllib.error.HTTPError as error:
    # The server made its own token, which is not known here: it answers, so it lives.
    sys.exit(0 if error.code in (401, 429) and not token else f"{url}: {error}")
except (OSError, ValueError) as error:
    sys.exit(f"no answer from {url}: {error}")
if not health["worker"]["alive"]:
    sys.exit("the worker process is not alive")
