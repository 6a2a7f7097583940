"""The emulator's SES, which does with each mail what a script says.

`python -m tests.crash.emulated_ses FOLDER`: `stage` in the folder names the home whose script it
is; what is taken is written down there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from ministack import app
from ministack.services import ses_v2

from tests.crash.stage import append
from tests.crash.table import next_word

#: What is answered instead of an id.
ERRORS: Final = {
    "fail": (429, "TooManyRequestsException"),
    "refuse": (400, "MessageRejected"),
    "halt": (400, "SendingPausedException"),
    # Something on the way gave up waiting, whatever became of the mail.
    "lost": (504, "GatewayTimeout"),
    "vanish": (504, "GatewayTimeout"),
}


def main(folder: Path) -> None:
    """Serve until stopped."""
    handle = ses_v2.handle_request

    async def scripted(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if method != "POST" or not path.endswith("/outbound-emails"):
            return await handle(method, path, headers, body, query)
        home = Path((folder / "stage").read_text())
        word = next_word(home)
        if word in {"take", "lost"}:
            status, told, answer = await handle(method, path, headers, body, query)
            tags = {tag["Name"]: tag["Value"] for tag in json.loads(body)["EmailTags"]}
            assert status == 200, answer
            append(home / "taken", tags["notification_id"])
            if word == "take":
                return status, told, answer
        status, name = ERRORS[word]
        told = {"Content-Type": "application/json", "x-amzn-ErrorType": name}
        return status, told, json.dumps({"message": "as the script says"}).encode()

    ses_v2.handle_request = scripted
    ses_v2._message_rejection = lambda *_: None
    # The emulator reads the command line too.
    del sys.argv[1:]
    app.main()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
