"""WeChat's side of the conversation: callbacks read and answered without I/O, and the platform's HTTP API called.

Pure: ``signature``, ``parser``, ``crypto``, ``reply``. With I/O: ``http``, ``tokens``, ``api``, ``check``.
wechatpy is imported by ``sdk`` alone, aiohttp (as a client) by ``http`` alone.
"""
