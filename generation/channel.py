"""The way to the provider: which one, with which key, and whether it is open.

A site with a key draws with fal (or a relay); one without draws with the sandbox while
`./run` keeps it running; otherwise nothing can be drawn and the pages say so.

A breaker guards the account: once the provider refuses the key or the account itself, nothing
new is sent, because every further task would meet the same. New tasks are still accepted and
wait; from time to time one of them tries, and the first that is taken closes the breaker, as
does saving the configuration. Running tasks are followed all the while.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import F
from django.utils.crypto import salted_hmac

from generation import fetching, fields, offering
from generation.models import FluxConfig
from generation.providers.base import Trial
from generation.providers.fal import Connection, FalClient

#: How long an open breaker waits before one task may try: longer each time, up to the last.
PROBE_AFTER = (30, 60, 120, 300, 900)

Mode = Literal["fal", "sandbox", "off", "not_configured", "key_unreadable"]


class ChannelClosed(Exception):
    """Nothing can be drawn at the moment. `mode` tells why."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        super().__init__(mode)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """The state of the way to the provider at one moment."""

    mode: Mode
    config: FluxConfig
    connection: Connection | None = None
    #: The models there are for whom (generation/offering.py).
    offer: offering.Offer = field(default_factory=offering.Offer)

    @property
    def is_open(self) -> bool:
        """Whether new tasks are accepted and sent. What is running is followed while there
        is a connection, also when drawing is switched off."""
        return self.mode in ("fal", "sandbox")

    @property
    def result_hosts(self) -> fetching.Hosts:
        """Hosts result pictures may be fetched from. The administrator's own is trusted to be
        anywhere; so is an IP address in RESULT_HOSTS, as nobody can point it elsewhere."""
        base = urlsplit(self.connection.base_url).hostname if self.connection else None
        return fetching.Hosts(
            public=tuple(settings.RESULT_HOSTS),
            trusted=(
                *([base] if base else []),
                *(host for host in settings.RESULT_HOSTS if fetching.is_address(host)),
            ),
        )

    @property
    def is_refused(self) -> bool:
        """Whether the breaker is open. What is accepted waits."""
        return self.is_open and self.config.refused_at is not None

    def may_send(self, now: datetime) -> bool:
        """Tell whether anything new may be sent: always while open, unless the breaker waits."""
        if not self.is_refused:
            return self.is_open
        return self.config.probe_at is None or now >= self.config.probe_at

    def provider(self) -> FalClient:
        """Return the client for this connection. Raises ChannelClosed."""
        if self.connection is None:
            raise ChannelClosed(self.mode)
        return _client(self.connection)


def imported_hosts() -> fetching.Hosts:
    """Return from where pictures may be fetched that were brought over from other sites: all of
    the public internet. Into this network such an address leads only where RESULT_HOSTS names
    an IP address; that the provider may be there says nothing about strangers' pictures."""
    trusted = tuple(host for host in settings.RESULT_HOSTS if fetching.is_address(host))
    return fetching.Hosts(trusted=trusted, anywhere=True)


def load_config() -> FluxConfig:
    """Return the configuration row, made from the environment on first use. One query."""
    # In SQL, because every request asks it: the ORM takes ten times as long to build the query.
    for config in FluxConfig.objects.raw(
        "SELECT * FROM flux_config WHERE id = %s", [FluxConfig.PK]
    ):
        return config
    return apply_environment()


def apply_environment() -> FluxConfig:
    """Take FAL_KEY, FAL_BASE_URL and FAL_AUTH_SCHEME over into the configuration row.

    Each set of values is taken over once: a changed environment wins over the row, and the
    same environment does not undo what an administrator changed since.
    """
    config, _created = FluxConfig.objects.get_or_create(pk=FluxConfig.PK)
    values = (settings.FAL_KEY, settings.FAL_BASE_URL, settings.FAL_AUTH_SCHEME)
    seal, *seals_before = (
        salted_hmac(
            "generation.channel", "\n".join(values), secret=secret, algorithm="sha256"
        ).hexdigest()
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    )
    if config.environment_seal == seal:
        return config
    if config.environment_seal in seals_before:
        # Another secret key, and the same environment: what an administrator set since stays.
        FluxConfig.objects.filter(pk=config.pk).update(environment_seal=seal)
        config.environment_seal = seal
        return config
    config.environment_seal = seal
    if settings.FAL_KEY:
        config.set_api_key(settings.FAL_KEY)
    if settings.FAL_BASE_URL:
        config.base_url = settings.FAL_BASE_URL
    if settings.FAL_AUTH_SCHEME:
        config.auth_scheme = settings.FAL_AUTH_SCHEME
    config.close_breaker()
    config.save()
    return config


def try_out() -> Trial:
    """Ask the provider for nothing, to learn whether it is there and takes the saved key. Raises
    ChannelClosed when there is nobody to ask. Not in a transaction: it waits for the network."""
    return current().provider().try_out()


# ---------------------------------------------------------------- the breaker
def open_breaker(*, code: str, detail: str, now: datetime) -> bool:
    """Note that the provider refuses us. False: it is known already.

    `code` is an entry of generation/errors.py, `detail` what the provider said.
    """
    closed = FluxConfig.objects.filter(pk=FluxConfig.PK, refused_at=None)
    # Looked at first: with a refused key every poll comes by here.
    if not closed.exists():
        return False
    opened = closed.update(
        refused_at=now,
        refusal_code=code,
        refusal_detail=detail,
        probes=0,
        probe_at=now + timedelta(seconds=PROBE_AFTER[0]),
    )
    return opened == 1


def begin_probe(*, config: FluxConfig, now: datetime) -> bool:
    """Claim the right to let one task try. False: it is not time yet, or somebody else did."""
    wait = PROBE_AFTER[min(config.probes + 1, len(PROBE_AFTER) - 1)]
    claimed = FluxConfig.objects.filter(
        pk=FluxConfig.PK, refused_at__isnull=False, probe_at=config.probe_at, probe_at__lte=now
    ).update(probes=F("probes") + 1, probe_at=now + timedelta(seconds=wait))
    return claimed == 1


def close_breaker() -> bool:
    """Note that the provider takes our requests again. False: nobody had noted otherwise."""
    refused = FluxConfig.objects.filter(pk=FluxConfig.PK, refused_at__isnull=False)
    closed = refused.update(
        refused_at=None, refusal_code="", refusal_detail="", probe_at=None, probes=0
    )
    return closed == 1


def has_key() -> bool:
    """Tell whether a real provider is configured, so that no sandbox is needed."""
    return bool(load_config().api_key)


def current() -> Channel:
    """Return the state of the channel now. One query, and two more in the first call of a
    process after the offer of models has changed."""
    config = load_config()
    mode, connection = _connection(config)
    return Channel(
        mode=mode if config.enabled else "off",
        config=config,
        connection=connection,
        offer=offering.of(config),
    )


def _connection(config: FluxConfig) -> tuple[Mode, Connection | None]:
    if not config.api_key:
        if not settings.SANDBOX_URL:
            return "not_configured", None
        return "sandbox", Connection(base_url=settings.SANDBOX_URL, api_key="sandbox:sandbox")
    try:
        key = config.get_api_key()
    except fields.KeyUnreadable:
        return "key_unreadable", None
    return "fal", Connection(base_url=config.base_url, api_key=key, auth_scheme=config.auth_scheme)


_clients: dict[Connection, FalClient] = {}
_clients_lock = threading.Lock()


def _client(connection: Connection) -> FalClient:
    """Return one client per connection and process: it keeps its connections open."""
    with _clients_lock:
        if connection not in _clients:
            _clients.clear()  # The key or the address changed; the old one is not needed.
            _clients[connection] = FalClient(connection)
        return _clients[connection]


def hang_up() -> None:
    """Close the connections kept open to the provider; the next call makes new ones."""
    with _clients_lock:
        for client in _clients.values():
            client.close()
