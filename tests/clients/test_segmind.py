"""PyPI `segmind` 1.3.0, unmodified; its uploads have a fixed host, which is changed."""

from __future__ import annotations

import pytest
from segmind import SegmindClient
from segmind.exceptions import SegmindError
from segmind.files import Files
from segmind.v2 import InferenceFailed

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, count_frames, decode

pytestmark = pytest.mark.clients
SLUG = "p-video-animate"


def test_segmind(server: str, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Files, "STORAGE_BASE_URL", server + "/segmind")
    # docs: segmind, PyPI `segmind`
    client = SegmindClient(KEY, base_url=server + "/segmind/v1", timeout=600)
    Files.STORAGE_BASE_URL = server + "/segmind"
    # end
    image, video = client.files.upload([inputs.image, inputs.video])["file_urls"]
    result = client.submit_async(SLUG, image=image, video=video, seed=5).wait(timeout=240, interval=0.3)
    assert (result["seed"], count_frames(result["output"])) == (5, NUM_FRAMES)
    answer = client.run_sync(SLUG, image=image, video=video, save_audio=False)
    assert decode(answer.content) == NUM_FRAMES
    with pytest.raises(SegmindError) as bad:
        client.submit_async(SLUG, image=image, video=video, resolution="480p")
    assert bad.value.status == 400
    unknown = client.submit_async(SLUG, image=image, video=inputs.missing)
    with pytest.raises(InferenceFailed, match="answered 404"):
        unknown.wait(timeout=60, interval=0.3)
    unknown.status_url = unknown.status_url.replace(unknown.request_id, "unknown")
    with pytest.raises(SegmindError, match="Request unknown not found"):
        unknown.wait(timeout=5, interval=0.3)
    stranger = SegmindClient("wrong", base_url=server + "/segmind/v1")
    with pytest.raises(SegmindError) as wrong:
        stranger.submit_async(SLUG, image=image, video=video)
    assert wrong.value.status == 401
    for used in (client, stranger):
        used._client.close()
