"""How many customer-service messages a follower's own acts allow, and for how long.

From the platform's page on customer-service messages: a message opens 48 hours with 5 sends; a menu click, a follow
or a scan opens one minute with 3. A newer act of the same sort starts its window afresh. How the two sorts add up is
not stated; here each has its own count, and a send uses the one that ends first.
"""

import msgspec

from sandbox.errors import ApiError

MESSAGE_WINDOW, MESSAGE_SENDS = 48 * 3600, 5
ACT_WINDOW, ACT_SENDS = 60, 3


class Window(msgspec.Struct):
    closes_at: int
    left: int


class Allowance(msgspec.Struct):
    """One follower's open windows. Times are seconds since 1970; a window opens at the CreateTime of what opened it."""

    message: Window | None = None
    act: Window | None = None

    def open_by_message(self, create_time: int) -> None:
        self.message = Window(create_time + MESSAGE_WINDOW, MESSAGE_SENDS)

    def open_by_act(self, create_time: int) -> None:
        self.act = Window(create_time + ACT_WINDOW, ACT_SENDS)

    def close(self) -> None:
        """The follower left: nothing may be sent any more."""
        self.message = self.act = None

    def spend(self, now: float) -> None:
        """Use one send. Raises ApiError 45015 when no window is open, 45047 when the open ones are used up."""
        window = self.usable(now)
        window.left -= 1

    def usable(self, now: float) -> Window:
        """The window the next send comes out of. Raises as `spend` does, and uses nothing."""
        alive = [w for w in (self.message, self.act) if w is not None and now < w.closes_at]
        if not alive:
            raise ApiError(45015)
        with_sends = [w for w in alive if w.left > 0]
        if not with_sends:
            raise ApiError(45047)
        return min(with_sends, key=lambda w: w.closes_at)
