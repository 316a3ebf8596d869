"""How requests name files that are here already, and where these files are read."""

from __future__ import annotations

UPLOAD = "upload:"  # with the id of one of the owner's uploads
# With the id of anything of the owner's: an upload, a result by its file's UUID, or the first result of the job of that
# id. For services whose ids do not say which of these they name.
STORED = "stored:"
# With the SHA-256 of one of the owner's uploads. For services that name a file by its bytes.
HASHED = "hashed:"
UPLOAD_PATH, ARTEFACT_PATH = "/files/uploads/", "/files/"
