"""JSON as the command line writes it."""

import json

from starlette.responses import JSONResponse

from tagger.documents import plain


class Document(JSONResponse):
    """In ASCII, so that a file's name that is no text comes out as it went in; with an end of line, for terminals."""

    def render(self, content: object) -> bytes:
        return json.dumps(content, default=plain).encode() + b"\n"
