"""Exit 0 if the web server of this container answers: `/healthz`, under a name it listens to."""

import http.client
import os
import sys


def main() -> int:
    names = os.environ.get("ALLOWED_HOSTS", "").replace(",", " ").split() or ["*"]
    host = "localhost" if names[0] == "*" else names[0].removeprefix(".")
    port = int(os.environ.get("PORT") or 8000)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/healthz", headers={"Host": host})
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
