"""The courier: the only one that calls WeChat's API for the others, and the only holder of access tokens."""
