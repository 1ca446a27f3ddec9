"""WeChat's error codes, each with its fate: what becomes of a call that got this answer.

One table for everyone who calls the platform or shows why a message did not arrive. Sources: WeChat's pages "Global
return codes", "Customer service message / send" and "/ typing", "Mass messages", "Template messages" and "Stable access
token"; where the fate is ours to choose, the line says why.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Fate(enum.StrEnum):
    """What to do with a call after its answer (or its silence). The values are safe as metric labels."""

    OK = "ok"
    """It happened."""
    RETRY = "retry"
    """It did not happen and may work soon: the same call again, with backoff."""
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - no secret
    """It did not happen because of the access token: fetch a new one once, call once more, then give up and alarm."""
    WAIT_MIDNIGHT = "wait_midnight"
    """The day's quota is used up: no more calls of this kind for the account until midnight in Asia/Shanghai."""
    BACK_OFF = "back_off"
    """Too fast: slow the account down for a minute, then the same call again."""
    OTHER_ROAD = "other_road"
    """Not to this follower this way for now; another kind of message, or their next message, may open a way."""
    FINAL = "final"
    """It will never work as it is."""
    FOLLOWER_GONE = "follower_gone"
    """Final, and the follower does not exist or does not follow any more: mark them, and send nothing further."""
    UNKNOWN = "unknown"
    """Nobody knows whether it happened. Never repeat it blindly: record it, list it, ask a person."""


class Meaning(NamedTuple):
    """One line of the table: the fate, what the code says, and what a person can do about it."""

    fate: Fate
    says: str
    do: str


_IF_IT_STAYS: Final = (
    "Nothing, if it passes. If it stays, run `weir accounts check`: another system may take the tokens."
)
_CALLER_DO: Final = "Correct the request; sending it again unchanged fails again."

CODES: Final[dict[int, Meaning]] = {
    0: Meaning(Fate.OK, "Done.", "Nothing."),
    -1: Meaning(Fate.RETRY, "WeChat is busy.", "Nothing: it is tried again."),
    # The access token.
    40001: Meaning(Fate.REFRESH_TOKEN, "The access token is not valid, or not the latest.", _IF_IT_STAYS),
    40014: Meaning(Fate.REFRESH_TOKEN, "The access token is not one of this platform.", _IF_IT_STAYS),
    42001: Meaning(Fate.REFRESH_TOKEN, "The access token has expired.", _IF_IT_STAYS),
    # Getting a token.
    40002: Meaning(Fate.FINAL, "The grant type of the token request is wrong.", _CALLER_DO),
    40013: Meaning(Fate.FINAL, "The appid is wrong.", "Compare it with the account's settings page; case matters."),
    40125: Meaning(
        Fate.FINAL, "The AppSecret is wrong.", "Reset it on the account's settings page and store the new one."
    ),
    40164: Meaning(
        Fate.FINAL,
        "Our IP address is not in the account's allow list.",
        "Add the address WeChat names to the IP allow list on the account's settings page.",
    ),
    40243: Meaning(Fate.FINAL, "The AppSecret is frozen.", "Unfreeze it on the account's settings page."),
    41002: Meaning(Fate.FINAL, "The appid is missing.", _CALLER_DO),
    41004: Meaning(Fate.FINAL, "The AppSecret is missing.", _CALLER_DO),
    50004: Meaning(Fate.FINAL, "The account may not fetch tokens.", "Its notices from WeChat say why."),
    50007: Meaning(Fate.FINAL, "The account is frozen.", "Its notices from WeChat say why."),
    # The follower.
    40003: Meaning(
        Fate.FOLLOWER_GONE,
        "There is no such follower of this account.",
        "Check that the openid belongs to this account and not to another one.",
    ),
    43004: Meaning(Fate.FOLLOWER_GONE, "The person does not follow the account.", "Nothing; they may follow again."),
    46004: Meaning(Fate.FOLLOWER_GONE, "There is no such user.", "Nothing."),
    50005: Meaning(Fate.FOLLOWER_GONE, "The person no longer follows the account.", "Nothing; they may follow again."),
    43101: Meaning(
        Fate.OTHER_ROAD,
        "The follower refused this notice, or its one-time consent is used up.",
        "Ask for consent again when they next write, or answer them by a customer-service message.",
    ),
    43117: Meaning(
        Fate.OTHER_ROAD,
        "This follower got too many template messages lately.",
        "Wait some days, or answer by a customer-service message when they next write.",
    ),
    45015: Meaning(
        Fate.OTHER_ROAD,
        "The follower wrote more than 48 hours ago, or no longer follows.",
        "It can be sent when they write again.",
    ),
    45047: Meaning(
        Fate.OTHER_ROAD,
        "The allowance of messages to this follower is used up (5 after a message, 3 after a click, follow or scan).",
        "It can be sent when they write again.",
    ),
    48002: Meaning(Fate.FINAL, "The follower has switched off messages from this account.", "Respect it."),
    50002: Meaning(Fate.FINAL, "The follower is restricted by WeChat.", "Nothing."),
    # Quotas and speed.
    45009: Meaning(
        Fate.WAIT_MIDNIGHT,
        "The account's daily quota for this call is used up.",
        "It continues after midnight (Beijing time); an administrator can clear the quota, 10 times a month.",
    ),
    45011: Meaning(Fate.BACK_OFF, "Too many calls in this minute.", "Nothing: it continues slower."),
    45066: Meaning(Fate.BACK_OFF, "Two mass messages came too close together.", "Nothing: it waits a minute."),
    45028: Meaning(Fate.FINAL, "The account's mass messages are used up.", "Plan it for the next period."),
    # 45065 answers a repeat of a clientmsgid: the first one went out, which is what was wanted.
    45065: Meaning(Fate.OK, "This mass message was sent already.", "Nothing: it was not sent twice."),
    45067: Meaning(Fate.FINAL, "The clientmsgid is longer than allowed.", _CALLER_DO),
    # "Typing": harmless, whatever becomes of it.
    45072: Meaning(Fate.FINAL, "The typing command is neither Typing nor CancelTyping.", _CALLER_DO),
    45080: Meaning(
        Fate.FINAL,
        "The typing sign needs an exchange with the follower within the last 30 seconds.",
        "Nothing: the message itself may still be sent.",
    ),
    # 45081 answers a repeat within 15 seconds: the sign is on, which is what was wanted.
    45081: Meaning(Fate.OK, "The typing sign is on already.", "Nothing."),
    # The request.
    40007: Meaning(
        Fate.FINAL,
        "The media id is not valid; temporary media lives for 3 days.",
        "Upload the file again and use its new id.",
    ),
    40004: Meaning(Fate.FINAL, "WeChat does not take files of this kind.", "Send it as image, voice, video or thumb."),
    40005: Meaning(
        Fate.FINAL,
        "The file is not of a type that WeChat takes here.",
        "Take PNG, JPEG or GIF for an image, AMR or MP3 for a voice, MP4 for a video, JPEG for a thumb.",
    ),
    40006: Meaning(Fate.FINAL, "WeChat does not take a file of this size.", "Make the file smaller."),
    40009: Meaning(Fate.FINAL, "The image is too large (over 10 MB).", "Make the image smaller."),
    40010: Meaning(Fate.FINAL, "The voice file is too large (over 2 MB).", "Shorten it or lower its bit rate."),
    40011: Meaning(Fate.FINAL, "The video is too large (over 10 MB).", "Shorten it or lower its quality."),
    40012: Meaning(Fate.FINAL, "The thumb is too large (over 64 KB).", "Make the picture smaller."),
    41005: Meaning(Fate.FINAL, "The upload holds no file.", _CALLER_DO),
    44001: Meaning(Fate.FINAL, "The file is empty.", "Upload the file again."),
    45001: Meaning(Fate.FINAL, "The file is larger than WeChat takes.", "Make the file smaller."),
    45007: Meaning(Fate.FINAL, "The voice is longer than 60 seconds.", "Shorten it to 60 seconds."),
    40008: Meaning(Fate.FINAL, "There is no such message type.", _CALLER_DO),
    40033: Meaning(Fate.FINAL, "The request holds escaped characters that are not allowed.", _CALLER_DO),
    40037: Meaning(Fate.FINAL, "The template id is not one of this account.", "Pick a template of this account."),
    40130: Meaning(Fate.FINAL, "A mass message needs at least two openids.", "Use another call for one follower."),
    41001: Meaning(Fate.FINAL, "The access token is missing from the request.", _CALLER_DO),
    43002: Meaning(Fate.FINAL, "The call must be a POST.", _CALLER_DO),
    44002: Meaning(Fate.FINAL, "The request's body is empty.", _CALLER_DO),
    44004: Meaning(Fate.FINAL, "The text is empty.", "Write something."),
    45002: Meaning(Fate.FINAL, "The text is too long (over 2,048 bytes).", "Shorten it, or split it in two."),
    45003: Meaning(Fate.FINAL, "The title is too long.", "Shorten the title."),
    45004: Meaning(Fate.FINAL, "The description is too long.", "Shorten the description."),
    45005: Meaning(Fate.FINAL, "The link is too long.", "Use a shorter link."),
    45006: Meaning(Fate.FINAL, "The picture's address is too long.", "Use a shorter address."),
    45008: Meaning(Fate.FINAL, "There are too many articles.", "Send one article."),
    47001: Meaning(Fate.FINAL, "WeChat cannot read the request.", _CALLER_DO),
    47003: Meaning(Fate.FINAL, "A value does not fit the template's field.", "Correct the value the answer names."),
    # Permissions.
    48001: Meaning(
        Fate.FINAL,
        "The account has no permission for this call.",
        "See which interfaces the account has on its settings page; unverified subscription accounts have few.",
    ),
    48004: Meaning(Fate.FINAL, "WeChat has banned the account from this call.", "Its notices say why and until when."),
    48006: Meaning(Fate.FINAL, "The quota may be cleared 10 times a month, and that is used up.", "Wait for midnight."),
    48008: Meaning(Fate.FINAL, "The account may not send this type of message.", "Send another type."),
}


def fate_of(errcode: int) -> Fate:
    """Return what becomes of a call that WeChat answered with ``errcode``.

    A code that is not listed is final: WeChat did answer, so the call was refused, and repeating what nobody knows can
    use up quotas or look like abuse. Whoever records the answer keeps the number, for a person to look up.
    """
    meaning = CODES.get(errcode)
    return Fate.FINAL if meaning is None else meaning.fate


def explain(errcode: int) -> str:
    """Return a sentence or two that an agent or an operator can act on."""
    meaning = CODES.get(errcode)
    if meaning is None:
        return f"WeChat answered {errcode}, which is not in our table. Look it up under WeChat's global return codes."
    return f"{meaning.says} {meaning.do}"
