"""A callback that is refused: the status, a code for the metrics and a sentence for whoever reads the answer."""

from __future__ import annotations


class Refused(Exception):
    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason
        self.sentence = sentence
