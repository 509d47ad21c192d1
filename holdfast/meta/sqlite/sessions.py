"""Results that clients may still ask for: what makes every command apply exactly once.

Rule: a session remembers the result of every command that was decided and is not acknowledged. In
each transaction the row of every session that takes part is replaced by all it remembers, so after
a crash the row holds each applied command whose answer may have been lost. A client that connects
again sends its unanswered commands with their numbers: a remembered one is answered, any other was
not applied, and is. The row of a session outlives its connection by SESSION_SECONDS_MAX of the
committer's own running time; a client stops asking long before.
"""

from __future__ import annotations

from typing import Any

import apsw

from holdfast.meta.sqlite.wire import split_answers

SESSION_SECONDS_MAX = 120.0


class Session:
    """`results`: answer frames by command number. `gone_s`: since when it has no connection."""

    __slots__ = ("gone_s", "id", "results")

    def __init__(self, id: bytes, results: dict[int, bytes], gone_s: float) -> None:
        self.id = id
        self.results = results
        self.gone_s: float | None = gone_s

    def acknowledge(self, number: int) -> None:
        """Forget the results up to `number`."""
        results = self.results
        while results:
            oldest = next(iter(results))
            if oldest > number:
                return
            del results[oldest]


class Sessions:
    """All sessions that the committer knows. Loaded once; the committer is the only writer."""

    def __init__(self, connection: apsw.Connection, now_s: float) -> None:
        self._run = connection.cursor().execute
        self._known: dict[bytes, Session] = {}
        self.last_seq = 0
        rows: list[tuple[Any, ...]]
        rows = self._run("SELECT session, last_seq, results FROM outcomes").fetchall()
        for id, last_seq, results in rows:
            self._known[id] = Session(id, split_answers(results), now_s)
            self.last_seq = max(self.last_seq, last_seq)

    def open(self, id: bytes) -> Session:
        """The session of a connection that was made just now."""
        session = self._known.get(id)
        if session is None:
            session = self._known[id] = Session(id, {}, 0.0)
        session.gone_s = None
        return session

    def save(self, sessions: set[Session], last_seq: int) -> None:
        """Into the open transaction."""
        for session in sessions:
            results = b"".join(session.results.values())
            self._run(
                "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", (session.id, last_seq, results)
            )

    def forget(self, now_s: float, last_seq: int) -> int:
        """Remove the sessions that nobody will ask for again; returns how many.

        The row with the highest sequence number stays, whoever's it is: the store counts on it.
        """
        old = [
            session
            for session in self._known.values()
            if session.gone_s is not None and now_s - session.gone_s > SESSION_SECONDS_MAX
        ]
        for session in old:
            del self._known[session.id]
            self._run(
                "DELETE FROM outcomes WHERE session = ? AND last_seq <"
                " (SELECT max(last_seq) FROM outcomes)",
                (session.id,),
            )
        return len(old)
