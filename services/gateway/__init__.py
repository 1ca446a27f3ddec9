"""The border to WeChat, both ways: the webhook in, the courier out."""
