"""The files of a multipart/form-data body, in memory: none of them touches the disk."""

from __future__ import annotations

from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from qkv.serving.errors import ServingError

FIELD = "file"
_MOST_PARTS = 10_000


def file_parts(content: bytes, content_type: bytes) -> list[bytes]:
    """The content of every part called `file`, in order.

    Raises:
        ServingError: the body is malformed, or a part has another name.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _malformed("Content-Type names no boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(content)
        parser.finalize()
    except FormParserError as error:
        raise _malformed(str(error).splitlines()[0][:100]) from None
    if not reader.ended:
        raise _malformed("its end is missing")
    return reader.files


class _Reader:
    """Gathers parts as the parser comes upon them."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.ended = False
        self._content: list[bytes] = []
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": self._field,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.files) >= _MOST_PARTS:
            raise ServingError(413, "the body has too many parts", remedy="send fewer files")
        self._content, self._headers = [], {}

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end(self) -> None:
        options = parse_options_header(self._headers.get(b"content-disposition", b""))[1]
        if options.get(b"name") != FIELD.encode():
            raise ServingError(
                422,
                "a part of the body is not called 'file'",
                remedy="send each image as a part called 'file'",
            )
        self.files.append(b"".join(self._content))

    def _finish(self) -> None:
        self.ended = True


def _malformed(problem: str) -> ServingError:
    return ServingError(
        400, f"the multipart body is malformed: {problem}", remedy="send it as RFC 7578 says"
    )
