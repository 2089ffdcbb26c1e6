"""A server that runs until it is stopped."""

import ipaddress
import logging

import uvicorn

from finetune.model import FineTunedModel
from finetune.serve.application import create_app
from finetune.serve.limits import Limits

log = logging.getLogger("finetune")

# Names of a server that answers this machine alone.
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")

# Seconds that requests under way have when the server is stopped.
_GRACE = 10


def serve(
    model: FineTunedModel,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
) -> None:
    """Answer until Ctrl-C or SIGTERM; what is under way then is answered first.

    Args:
        model: From `fine_tune` or `load`.
        host: Address to listen on. Default: this machine alone; with another one everybody who
            reaches it may ask, which is warned of.
        port: Port to listen on. Default 8000.
        limits: Bounds. Default: those of `Limits`.
    """
    own = is_own(host)
    if not own:
        log.warning(
            "Everybody who reaches %s may ask: there is no password. Put a proxy with one before "
            "it, or leave host out.",
            host,
        )
    app = create_app(model, limits=limits, hosts=_OWN_NAMES if own else ("*",))
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=30,
        limit_concurrency=1000,
    )


def is_own(host: str) -> bool:
    """Whether only this machine reaches an address.

    Example:
        >>> is_own("127.0.0.1"), is_own("0.0.0.0")
        (True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
