"""Which refused sign-ins the audit log gets: some of each source and of each account, and the number of the others.

Anybody can cause any number of them. Wrong tokens and unknown names have one budget, of which each network gets a part. Each person has
an own one, and so have all identities of the provider together: no stranger uses it up with wrong tokens.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tagger.web.http.attempt_limiter import AttemptLimiter, TooManyAttempts

WINDOW_S = 3600
RETRY_S = 60
"""After a summary could not be written."""
MAX_OF_SOURCE = 10
"""Of one network, for one account or identity, or for none."""
MAX_OF_ALL = 100
"""Of everybody together: without an account, and of identities."""
MAX_OF_ACCOUNT = 20
MOST_COUNTED = 1000
"""Addresses and accounts of the others that are told apart."""


@dataclass(frozen=True)
class Refusal:
    """A wrong `token`, `password` or `identity`. `account`: of a person who is here, `identity`: the subject at the provider."""

    what: str
    network: str
    account: str | None = None
    identity: str | None = None


@dataclass
class OtherRefusals:
    """The refusals that are not recorded one by one, since the first of them."""

    since: datetime
    begin_s: float
    kinds: Counter[str] = field(default_factory=Counter)
    networks: set[str] = field(default_factory=set)
    accounts: Counter[str] = field(default_factory=Counter)

    def count(self, refusal: Refusal) -> None:
        self.kinds[refusal.what] += 1
        if len(self.networks) < MOST_COUNTED:
            self.networks.add(refusal.network)
        account = refusal.account
        if account is not None and (account in self.accounts or len(self.accounts) < MOST_COUNTED):
            self.accounts[account] += 1

    def add(self, later: "OtherRefusals") -> None:
        """Count those, too, as far as their addresses and accounts are told apart."""
        self.kinds += later.kinds
        self.networks.update(sorted(later.networks)[: MOST_COUNTED - len(self.networks)])
        self.accounts += Counter(dict(later.accounts.most_common(max(0, MOST_COUNTED - len(self.accounts)))))

    @property
    def details(self) -> dict[str, object]:
        """As an entry has it."""
        return {
            "unrecorded": self.kinds.total(),
            "since": self.since.isoformat(timespec="seconds"),
            "addresses": len(self.networks),
            "kinds": dict(self.kinds),
            "accounts": dict(self.accounts) or None,
        }


class RefusalBudget:
    """Decides which refusals are recorded within `WINDOW_S`. Created once per server; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of_source = AttemptLimiter(MAX_OF_SOURCE, WINDOW_S, clock=clock)
        self._of_account = AttemptLimiter(MAX_OF_ACCOUNT, WINDOW_S, clock=clock)
        self._of_all = AttemptLimiter(MAX_OF_ALL, WINDOW_S, clock=clock)
        self._others: OtherRefusals | None = None

    def admit(self, refusal: Refusal) -> bool:
        """Whether this one is to be recorded; if not, it is counted."""
        whose = refusal.account or refusal.identity
        source = f"{refusal.network} {refusal.account is not None} {whose}"
        with self._lock:
            shared = (
                (self._of_all, "strangers" if refusal.identity is None else "identities")
                if refusal.account is None
                else (self._of_account, refusal.account)
            )
            limits = ((self._of_source, source), shared)
            try:
                for limiter, key in limits:
                    limiter.check(key)
            except TooManyAttempts:
                self._count(refusal)
                return False
            for limiter, key in limits:
                limiter.record(key)
            return True

    def count(self, refusal: Refusal) -> None:
        """Count one that was to be recorded, and could not be."""
        with self._lock:
            self._count(refusal)

    @property
    def has_others(self) -> bool:
        return self._others is not None

    def take_others(self, *, early: bool = False) -> OtherRefusals | None:
        """The others, once `WINDOW_S` has passed since the first of them; `early`: now."""
        with self._lock:
            others = self._others
            if others is None or (not early and self._clock() - others.begin_s < WINDOW_S):
                return None
            self._others = None
            return others

    def return_others(self, others: OtherRefusals) -> None:
        """Take back what could not be recorded. It is due again after `RETRY_S`."""
        with self._lock:
            if self._others is not None:
                others.add(self._others)
            others.begin_s = self._clock() - WINDOW_S + RETRY_S
            self._others = others

    def _count(self, refusal: Refusal) -> None:
        if self._others is None:
            self._others = OtherRefusals(datetime.now(UTC), self._clock())
        self._others.count(refusal)
