"""What the page asks of the service beside the plain REST: truth as rows, a camera.yaml as text."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS = "frame,x_nm,y_nm,z_nm,photons,uncertainty_xy_nm,background,probability"
CSV = b"frame,x_nm,y_nm,photons\n0,150,250.5,900\n2,300,400,1200\n"


def test_rows_of_an_uploaded_table(site: Any) -> None:
    table = site.send_file(CSV, "truth.csv", "table").json["table_id"]
    answer = site.ask("GET", f"/api/v1/tables/{table}/rows")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert headers["x-columns"] == ROWS
    assert headers["x-rows"] == "2"
    rows = np.frombuffer(answer.body, "<f4").reshape(-1, 8)
    np.testing.assert_array_equal(
        rows[:, [0, 1, 2, 4]], [[0, 150, 250.5, 900], [2, 300, 400, 1200]]
    )
    assert np.isnan(rows[:, [3, 5, 6, 7]]).all()
    rest = site.ask("GET", f"/api/v1/tables/{table}/rows?start=1")
    np.testing.assert_array_equal(np.frombuffer(rest.body, "<f4"), rows[1])
    assert site.ask("GET", f"/api/v1/tables/{table}/rows?start=2").body == b""
    assert site.ask("GET", f"/api/v1/tables/{'0' * 32}/rows").status == 404


def test_a_camera_file_sent_as_text(site: Any, tiny_tiff: bytes) -> None:
    movie = site.send_file(tiny_tiff).json["movie_id"]

    def start(text: Any) -> Any:
        job = {"kind": "localize", "movie_id": movie, "camera": {"yaml": text}}
        return site.ask("POST", "/api/v1/jobs", job)

    taken = start("camera: {kind: ideal}\npixel_size_nm: 100\n")
    assert taken.status == 202
    assert taken.json["camera"]["camera"]["kind"] == "ideal"
    assert taken.json["camera"]["pixel_size_nm"] == 100.0
    for text in ("a: [", "just words", "camera: {kind: fancy}", "!!python/object:os.system {}", 7):
        refused = start(text)
        assert refused.status == 422
        assert refused.json["error"]["message"].startswith("camera")


def test_the_page_is_served_under_a_strict_policy(site: Any) -> None:
    page = site.ask("GET", "/")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    script = site.ask("GET", "/web/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["x-content-type-options"] == "nosniff"
