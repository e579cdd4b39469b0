"""Who teaches speaks to the class from a program: `teach(address)`, with the address that the terminal shows, or none.

Without an address it is the class that was started last on this machine. Standard library only.
"""

import http.client
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from labkit.errors import LabError
from labkit.workshop.classroom.spool import home

NOTE = "teacher.json"
"""Where a running class leaves the teacher's address, in a file that only this user reads."""


def teach(address: str | None = None) -> "Teacher":
    """Hold the teacher's end of a class. Raises: LabError where no class is there, or the token is not the teacher's."""
    if address is None:
        try:
            address = str(json.loads((home() / NOTE).read_text("utf-8"))["address"])
        except (OSError, ValueError, KeyError) as error:
            raise LabError("No class was started on this machine: ./lab class start opens one.") from error
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host, port, token = parts.hostname, parts.port, parse_qs(parts.query).get("token", [""])[0]
    except ValueError:
        host, port, token = None, None, ""
    if not host or not port or not token:
        raise LabError("The teacher's address is the one with token= that labkit class start prints in the terminal.")
    teacher = Teacher(host, port, token)
    teacher.state()
    return teacher


class Teacher:
    """The teacher's end of a class. Made by `teach`."""

    def __init__(self, host: str, port: int, token: str):
        self._host, self._port, self._token = host, port, token

    def say(self, kind: str, **what: Any) -> None:
        """Say something to every notebook: "place" (where the teacher is), "notice" (a sentence in `says`), or "end".

        Raises: LabError where the class cannot be reached, or does not take it.
        """
        self._ask("POST", "/class/say", {"kind": kind, "what": what})

    def state(self) -> dict[str, Any]:
        """How the class stands: students, here, told, and more."""
        return self._ask("GET", "/class/state")

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=5)
        try:
            sent = None if body is None else json.dumps(body).encode()
            connection.request(method, path, sent, {"Authorization": f"Bearer {self._token}"})
            response = connection.getresponse()
            raw = response.read(1 << 20)
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"The class at {self._host}:{self._port} cannot be reached ({error}).") from error
        finally:
            connection.close()
        if response.status == 403:
            raise LabError("The token in this address is not the teacher's: copy the address from the terminal.")
        try:
            said = json.loads(raw)
        except ValueError:
            said = {}
        if response.status != 200 or not isinstance(said, dict):
            raise LabError(str(said.get("says") if isinstance(said, dict) else "") or "The class did not understand.")
        return said
