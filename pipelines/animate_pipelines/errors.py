"""Every error a render can end with, and who is at fault.

    AnimateError                      (animate_weights.errors)
    ├── RequestError        request   what was asked for cannot be done; asking again will not help
    │   ├── InvalidField              a field's type, value or range
    │   │   └── AreaTooLarge          more pixels at once than the device's memory takes
    │   ├── FetchError                an input URL that is refused or does not answer
    │   ├── MediaError                bytes that are not the image or video they should be
    │   │   └── MediaTooLarge         size, sides, length, rate, or the work of decoding them
    │   ├── NoPersonFound             nobody to take the motion from, or to replace
    │   ├── PairRefused               preflight found problems, and was told to refuse them
    │   ├── PairNotRead               pictures of a kind that the bundle's networks do not read
    │   ├── PersonLost                the person to follow is out of sight for too long
    │   └── ContentRefused            a picture that the safety checker does not let pass
    ├── Canceled            user      stopped on request
    ├── DeviceError         gpu       the accelerator failed or ran out of memory; the process must be replaced
    ├── ServerError         server    our own fault: disk, a bug, a lost process
    │   └── NotFinite                 NaN where a picture should be
    └── BundleError         weights   (animate_weights.errors)

A class's docstring is its default message. `code` is what clients may switch on; it never changes.
"""

from __future__ import annotations

from animate_weights.errors import AnimateError, BundleError, BundleNotFound, Fault

__all__ = [
    "AnimateError",
    "AreaTooLarge",
    "BundleError",
    "BundleNotFound",
    "Canceled",
    "ContentRefused",
    "DeviceError",
    "Fault",
    "FetchError",
    "InvalidField",
    "MediaError",
    "MediaTooLarge",
    "NoPersonFound",
    "NotFinite",
    "PairNotRead",
    "PairRefused",
    "PersonLost",
    "RequestError",
    "ServerError",
]


class RequestError(AnimateError):
    """The request cannot be carried out."""

    code = "request_invalid"
    fault = "request"


class InvalidField(RequestError):
    """A field of the request has a value that is not allowed."""

    code = "invalid_field"


class AreaTooLarge(InvalidField):
    """The render area is too large for the device's memory."""

    code = "area_too_large"


class FetchError(RequestError):
    """An input URL could not be fetched."""

    code = "fetch_failed"


class MediaError(RequestError):
    """The bytes are not a readable image or video."""

    code = "media_invalid"


class MediaTooLarge(MediaError):
    """The image or video is over a limit."""

    code = "media_too_large"


class NoPersonFound(RequestError):
    """No person was found in the driving video."""

    code = "no_person_found"


class PairRefused(RequestError):
    """Image and driving video do not go together."""

    code = "pair_refused"


class PairNotRead(RequestError):
    """The bundle does not read pictures of this kind."""

    code = "pair_not_read"


class PersonLost(RequestError):
    """The person to follow is not seen for too long a part of the driving video."""

    code = "person_lost"


class ContentRefused(RequestError):
    """The safety checker refused a picture."""

    code = "content_refused"


class Canceled(AnimateError):
    """The job was canceled."""

    code = "canceled"
    fault = "user"


class DeviceError(AnimateError):
    """The accelerator failed."""

    code = "device_failed"
    fault = "gpu"


class ServerError(AnimateError):
    """The server failed; the request may be sent again."""

    code = "server_failed"


class NotFinite(ServerError):
    """The numbers of a picture are not finite."""

    code = "not_finite"
