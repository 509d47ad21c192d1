"""The metadata store on SQLite: one committer that writes, any number of processes that read."""
