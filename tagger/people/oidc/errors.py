"""What can go wrong at the provider, as the person who wants to sign in reads it. The reasons are for admins, who get them from that person."""

from tagger.people.identities import SignInFailed


class ProviderUnavailable(SignInFailed):
    """{issuer} cannot be asked who you are: {reason}. Try again in some minutes. If it stays so, tell an admin of this page."""


class ProviderMisconfigured(SignInFailed):
    """The page and {issuer} do not fit together: {reason}. Tell an admin of this page."""


class SignInDenied(SignInFailed):
    """{issuer} has not signed you in: {reason}. Sign in again, or ask those who manage your account there."""


class SignInExpired(SignInFailed):
    """The sign-in took more than ten minutes, is completed already, or began in another browser. Sign in again. Your browser has to accept cookies."""


class IdentityRefused(SignInFailed):
    """What {issuer} says about you is not accepted: {reason}. Sign in again. If it stays so, tell an admin of this page."""


class ClocksDiffer(SignInFailed):
    """The clocks of this page and of {issuer} differ: {reason}. Tell an admin of this page, who has to set the time of the server."""


class RoleMissing(SignInFailed):
    """{issuer} has signed you in, but gives you no role here: {claim} has none of {roles}. Ask those who manage your account there."""
