"""What goes wrong: WeChat's errcodes towards an API caller, plain words towards whoever steers the sandbox."""

import secrets
import time

# WeChat's numbers with the English text the platform sends beside them.
ERRMSG = {
    -1: "system error",
    0: "ok",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40004: "invalid media type",
    40005: "invalid file type",
    40006: "invalid media size",
    40007: "invalid media_id",
    40008: "invalid message type",
    40009: "invalid image size",
    40010: "invalid voice size",
    40011: "invalid video size",
    40012: "invalid thumb size",
    40013: "invalid appid",
    40014: "invalid access_token",
    40066: "invalid url",
    40073: "invalid card id",
    40125: "invalid appsecret",
    40164: "invalid ip, not in whitelist",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41005: "media data missing",
    42001: "access_token expired",
    43001: "require GET method",
    43002: "require POST method",
    44001: "empty media data",
    44004: "empty content",
    45001: "media size out of limit",
    45002: "content size out of limit",
    45007: "playtime out of limit",
    45008: "article size out of limit",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    45015: "response out of time limit or subscription is canceled",
    45047: "out of response count limit",
    45072: "command is not in [Typing, CancelTyping]",
    45080: "need to interact with the user within 30 seconds before typing",
    45081: "already in typing state",
    47001: "data format error",
    48001: "api unauthorized",
    48006: "forbid to clear quota because of reaching the limit",
    53600: "invalid article id",
}


class ApiError(Exception):
    """An API call that WeChat refuses; `errcode` is WeChat's number."""

    def __init__(self, errcode: int, hint: str = "") -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.hint = hint

    def answer(self) -> dict[str, object]:
        """The JSON body WeChat would send: number, text and a request id."""
        text = ERRMSG.get(self.errcode, "error injected by the sandbox")
        hint = f" ({self.hint})" if self.hint else ""
        rid = f"{int(time.time()):x}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
        return {"errcode": self.errcode, "errmsg": f"{text}{hint} rid: {rid}"}


class ControlError(Exception):
    """A control request that cannot be done; `status` is the HTTP status, the text says what to change."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
