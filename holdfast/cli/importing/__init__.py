"""`holdfast import`: buckets of any S3 server, with all versions, brought to another.

Rule: what is at the destination says what has been done. Both listings are read side by side, and the
versions of a key that the destination lacks are written on top, oldest first; the journal holds only
what listings can't tell. So a run that was killed at any moment is gone on with by running it again.
"""
