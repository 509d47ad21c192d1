"""The commands for objects: `cp`, `ls`, `sync` and their kin, over holdfast.client.

Rule: commands know options and words; `places` knows names, `plan` what is to be done, `transfer` does
it in parallel, `output` and `progress` tell of it. Listing runs on the synchronous store, in the
caller's or the plan's thread, transfers on the asynchronous one.
"""
