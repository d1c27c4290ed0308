"""Object storage: addresses such as `s3://bucket/voice.wav`, the objects there, and their local copies."""
