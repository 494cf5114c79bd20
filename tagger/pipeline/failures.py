"""Failures of photos that are not the photo's: errors in this program, and time limits."""

from tagger.errors import FailureKind, PhotoFailure


def internal_failure(error: Exception) -> PhotoFailure:
    """The failure of a photo because of an error in this program."""
    text = f"an error in this program ({type(error).__name__}: {error}); please report it, with the photo if you can"
    return PhotoFailure(FailureKind.INTERNAL, text)


def timeout_text(timeout_s: float) -> str:
    """Describe the failure of a photo that took too long to read, and what to do about it."""
    return (
        f"Reading it took longer than {timeout_s:g} s and was given up. If its disk, its share or its bucket was slow to answer, "
        "try again: tagger retry --kind timed-out. TAGGER_READ_TIMEOUT_S allows more time."
    )


def decoding_timeout_text(timeout_s: float) -> str:
    """Describe the failure of a photo that was read and took too long to decode, and what to do about it."""
    return (
        f"Decoding it took longer than {timeout_s:g} s and was given up. Save it again, smaller or as a plain JPEG. "
        "TAGGER_READ_TIMEOUT_S allows more time."
    )
