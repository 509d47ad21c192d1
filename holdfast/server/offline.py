"""Work on a DATA directory that no server uses: takes the lock, runs the committer in a thread."""

from __future__ import annotations

from holdfast.blobs.files import FileBlobStore
from holdfast.config import Settings
from holdfast.maintenance.fsck import FsckReport, Progress, fsck
from holdfast.meta.contract import MetaUnavailable
from holdfast.meta.sqlite.check import damage_of
from holdfast.server.committer import CommitterThread
from holdfast.server.data import DataDirectory, DataError
from holdfast.server.metadata import CommitterFailed, Metadata


async def check(
    settings: Settings, *, content: bool, reclaim: bool, progress: Progress | None = None
) -> FsckReport:
    """`fsck` on DATA. Damage is in the report, also when it keeps the database from being opened.
    Raises DataError (DataLocked when a server runs) and OSError."""
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
        except CommitterFailed as error:
            problem = damage_of(error.__cause__)
            if problem is None:
                raise DataError(str(error)) from error
            report = FsckReport(content)
            report.add_problem(problem)
            return report
        except MetaUnavailable as error:
            raise DataError(str(error)) from error
        finally:
            await committer.stop()
            metadata.close()
            blobs.close()
    finally:
        data.close()
