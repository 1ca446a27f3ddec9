"""A WeChat that is not WeChat. Imports nothing of the rest of Weir, so it cannot hide its bugs."""
