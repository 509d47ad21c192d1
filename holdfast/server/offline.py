"""Work on a DATA directory that no server uses: takes the lock, runs the committer in a thread."""

from __future__ import annotations

from holdfast.blobs.files import FileBlobStore
from holdfast.config import Settings
from holdfast.maintenance.fsck import FsckReport, Progress, fsck
from holdfast.server.committer import CommitterThread
from holdfast.server.data import DataDirectory
from holdfast.server.metadata import Metadata


async def check(
    settings: Settings, *, content: bool, reclaim: bool, progress: Progress | None = None
) -> FsckReport:
    """`fsck` on DATA. Raises DataError (DataLocked when a server runs) and OSError."""
    data = DataDirectory.open(settings.data, create=False)
    try:
        metadata = Metadata(data.path, settings)
        blobs = FileBlobStore(data.path)
        committer = CommitterThread(metadata)
        committer.start()
        try:
            store = await metadata.open_store()
            try:
                return await fsck(
                    store.meta, blobs, content=content, reclaim=reclaim, progress=progress
                )
            finally:
                await store.close()
        finally:
            await committer.stop()
            metadata.close()
            blobs.close()
    finally:
        data.close()
