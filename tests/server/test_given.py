"""Keypoints, masks and neutral pictures of one's own reach the renderer as other inputs do, only as what they are."""

from __future__ import annotations

from typing import Any

TRACK = b'{"format": "coco_wholebody", "width": 8, "height": 8, "frames": []}'


def test_keypoints_and_masks_come_in_a_form(served: Any, png: bytes, mp4: bytes) -> None:
    files = {
        "reference_image": ("a.png", png),
        "driving_video": ("b.mp4", mp4),
        "keypoints": ("k.json", TRACK),
        "mask_video": ("m.mp4", mp4),
    }
    job = served.http.post("/v1/jobs", files=files, data={"mode": "replace"}).json()
    done = served.wait(job["id"], "succeeded")
    assert all(done["params"][name].startswith("upload:") for name in files)
    assert served.renderer.given["keypoints"].endswith(done["params"]["keypoints"].removeprefix("upload:"))
    assert set(served.renderer.given) == {"keypoints", "mask_video"}


def test_neutral_pictures_come_in_a_form_and_are_images(served: Any, png: bytes, mp4: bytes) -> None:
    pair = {"reference_image": ("a.png", png), "driving_video": ("b.mp4", mp4), "neutral_reference": ("c.png", png)}
    job = served.http.post(
        "/v1/jobs", files=pair | {"neutral_driver": ("d.png", png)}, data={"retarget": "true"}
    ).json()
    served.wait(job["id"], "succeeded")
    assert set(served.renderer.given) == {"neutral_reference", "neutral_driver"}
    refused = served.http.post("/v1/jobs", files=pair | {"neutral_driver": ("d.mp4", mp4)}, data={"retarget": "true"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "neutral_driver")


def test_keypoints_are_uploaded_beforehand(idle: Any, png: bytes, mp4: bytes) -> None:
    upload = idle.http.post("/v1/uploads", content=TRACK).json()
    assert upload["media_type"] == "application/json"
    files = {"reference_image": ("a.png", png), "driving_video": ("b.mp4", mp4)}
    job = idle.http.post("/v1/jobs", files=files, data={"keypoints": upload["id"]}).json()
    assert job["params"]["keypoints"] == upload["id"]


def test_a_video_is_no_keypoints(idle: Any, png: bytes, mp4: bytes) -> None:
    files = {"reference_image": ("a.png", png), "driving_video": ("b.mp4", mp4), "keypoints": ("k.json", mp4)}
    answer = idle.http.post("/v1/jobs", files=files)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "keypoints")


def test_keypoints_are_no_video(idle: Any, png: bytes) -> None:
    files = {"reference_image": ("a.png", png), "driving_video": ("b.mp4", TRACK)}
    answer = idle.http.post("/v1/jobs", files=files)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "driving_video")
