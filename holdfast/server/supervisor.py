"""The parent of all processes: forks them, starts again what dies, stops them in order.

Rule: one thread, no event loop, no database; nothing here can block but the one poll. So forking
is safe at any time, and there is nothing in it that a request could break.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from holdfast.server.control import COVER, READY, RELOAD, STOP, UNCOVER, Control

RESTART_SECONDS_MIN = 0.05
RESTART_SECONDS_MAX = 5.0
#: a child that lived so long starts with a clean record
STABLE_SECONDS = 10.0
#: deaths in a row after which the log says so with more weight, and others of its kind do its work
CRASH_LOOP_DEATHS = 3
FORCED_STOP_SECONDS = 5.0
#: timeout(1) and other wrappers send a signal to the process and again to its group
SAME_SIGNAL_SECONDS = 0.5
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_log = logging.getLogger("holdfast.supervisor")


class Role(NamedTuple):
    """A child to keep running. `run` is called in the child and ends when it was told to stop;
    `after_death` in the supervisor, before the next start. Roles of a lower `stage` stop first,
    each stage within `stop_seconds`."""

    name: str
    run: Callable[[Control], None]
    stage: int
    stop_seconds: float
    after_death: Callable[[], None] = lambda: None


class _Child:
    """A role and the process that plays it now (pid 0: none)."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.pid = 0
        self.sock: socket.socket | None = None
        self.ready = False
        #: it ended by itself, with a fault, before it was ready
        self.failed_to_start = False
        self.started_at = 0.0
        self.start_at = 0.0  # monotonic time of the next start
        self.deaths = 0  # in a row

    def tell(self, message: bytes) -> None:
        if self.sock is not None:
            try:
                self.sock.send(message)
            except OSError:
                pass  # it is dying; its death is noticed on its own


class Supervisor:
    """Runs `roles` until a signal ends them."""

    def __init__(
        self,
        roles: Sequence[Role],
        on_ready: Callable[[], None],
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_ready`: once, when all children serve. `on_stop`: once, before stopping any."""
        self._children = [_Child(role) for role in roles]
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._announced = False
        self._signals: list[int] = []

    def run(self) -> int:
        """The exit status: 0 after an orderly stop, 1 after a forced one or a failed start."""
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        before = {number: signal.signal(number, _note) for number in SIGNALS}
        wakeup_before = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        self._wakeup_fds = (read_fd, write_fd)
        gc.freeze()  # what was imported is never scanned again, so its pages stay shared
        try:
            return self._supervise()
        finally:
            for child in self._children:
                if child.pid:
                    self._kill(child)
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(read_fd)
            os.close(write_fd)

    def _supervise(self) -> int:
        while True:
            self._poll(self._start_due(self._children))
            for number in self._take_signals():
                if number == signal.SIGHUP:
                    for child in self._children:
                        child.tell(RELOAD)
                elif number in (signal.SIGTERM, signal.SIGINT):
                    _log.info("stopping (%s)", signal.Signals(number).name)
                    self._on_stop()
                    return self._stop()
            for child in self._reap():
                if child.failed_to_start and not self._announced:
                    _log.error("%s could not start; giving up", child.role.name)
                    return 1
                self._schedule_restart(child)
            if not self._announced and all(child.ready for child in self._children):
                self._announced = True
                self._on_ready()

    def _start_due(self, children: list[_Child]) -> float | None:
        """Start those whose time has come; seconds until the next one's, None when all run."""
        now = time.monotonic()
        for child in children:
            if not child.pid and child.start_at <= now:
                self._start(child)
        return min((child.start_at - now for child in children if not child.pid), default=None)

    def _stop(self) -> int:
        """Stage by stage, while later stages are still kept running. A second signal, or a stage
        that takes too long, kills what is left of it; the last stage always gets a short time."""
        status = 0
        hurried_from = time.monotonic() + SAME_SIGNAL_SECONDS
        stages = sorted({child.role.stage for child in self._children})
        for stage in stages:
            children = [child for child in self._children if child.role.stage == stage]
            later = [child for child in self._children if child.role.stage > stage]
            seconds = max(child.role.stop_seconds for child in children)
            if status:
                seconds = FORCED_STOP_SECONDS if stage == stages[-1] else 0.0
            deadline = time.monotonic() + seconds
            for child in children:
                child.tell(STOP)
            while any(child.pid for child in children):
                left = deadline - time.monotonic()
                if left <= 0:
                    status = 1
                    for child in children:
                        if child.pid:
                            _log.error("%s did not end in time; killing it", child.role.name)
                            self._kill(child)
                    break
                due = self._start_due(later)
                self._poll(left if due is None else min(left, due))
                again = {signal.SIGTERM, signal.SIGINT}.intersection(self._take_signals())
                if again and time.monotonic() >= hurried_from:
                    _log.warning("second signal: not waiting any longer")
                    status = 1
                    deadline = time.monotonic()
                    if stage == stages[-1]:
                        deadline += FORCED_STOP_SECONDS
                for child in self._reap():
                    if child in later:
                        self._schedule_restart(child)
        return status

    def _start(self, child: _Child) -> None:
        ours, theirs = socket.socketpair()
        # until the child has its own handlers, no signal may be noted through the parent's pipe
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if not pid:
                self._be_child(child.role, ours, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()
        ours.setblocking(False)
        child.pid, child.sock, child.ready = pid, ours, False
        child.started_at = time.monotonic()

    def _be_child(self, role: Role, ours: socket.socket, theirs: socket.socket) -> None:
        """Never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            # whoever holds another child's channel would keep that child alive
            ours.close()
            for other in self._children:
                if other.sock is not None:
                    other.sock.close()
            for fd in self._wakeup_fds:
                os.close(fd)
            role.run(Control(theirs))
            status = 0
        except BaseException:  # noqa: BLE001 - the last frame of the process
            _log.critical("%s failed", role.name, exc_info=True)
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)

    def _poll(self, seconds: float | None) -> None:
        """Wait for a signal or a child's message, at most so long."""
        poll = select.poll()
        poll.register(self._wakeup_fds[0], select.POLLIN)
        by_fd = {}
        for child in self._children:
            if child.sock is not None:
                by_fd[child.sock.fileno()] = child
                poll.register(child.sock, select.POLLIN)
        for fd, _ in poll.poll(None if seconds is None else max(0.0, seconds) * 1000 + 1):
            if fd == self._wakeup_fds[0]:
                self._signals += os.read(fd, 4096)
                continue
            child = by_fd[fd]
            assert child.sock is not None
            try:
                message = child.sock.recv(1)
            except OSError:
                message = b""
            if message == READY:
                child.ready = True
                if child.deaths:
                    _log.info("%s is back (pid %d)", child.role.name, child.pid)
                self._cover()
            else:  # it is ending; SIGCHLD follows
                child.sock.close()
                child.sock = None

    def _take_signals(self) -> list[int]:
        taken, self._signals = self._signals, []
        return taken

    def _reap(self) -> list[_Child]:
        """The children that died since."""
        dead = []
        for child in self._children:
            if not child.pid:
                continue
            try:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = child.pid, 0
            if pid:
                self._note_death(child, os.waitstatus_to_exitcode(status))
                dead.append(child)
        return dead

    def _note_death(self, child: _Child, code: int) -> None:
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with status {code}"
        level = logging.INFO if code == 0 else logging.ERROR
        _log.log(level, "%s (pid %d) %s", child.role.name, child.pid, how)
        if child.sock is not None:
            child.sock.close()
        child.failed_to_start = code > 0 and not child.ready
        child.pid, child.sock, child.ready = 0, None, False
        child.role.after_death()

    def _schedule_restart(self, child: _Child) -> None:
        now = time.monotonic()
        if now - child.started_at >= STABLE_SECONDS:
            child.deaths = 0
        wait = min(RESTART_SECONDS_MIN * 2**child.deaths, RESTART_SECONDS_MAX)
        child.deaths = min(child.deaths + 1, 32)
        child.start_at = now + wait
        if child.deaths >= CRASH_LOOP_DEATHS:
            _log.critical(
                "%s died %d times in a row; the lines above say why. Next start in %.2f s",
                child.role.name, child.deaths, wait,
            )  # fmt: skip
            self._cover()

    def _cover(self) -> None:
        """Tell every child whether one of its kind can't be started now."""
        missing = {
            child.role.stage
            for child in self._children
            if child.deaths >= CRASH_LOOP_DEATHS and not child.ready
        }
        for child in self._children:
            child.tell(COVER if child.role.stage in missing else UNCOVER)

    def _kill(self, child: _Child) -> None:
        os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        self._note_death(child, os.waitstatus_to_exitcode(status))


def _note(number: int, frame: object) -> None:
    """The wakeup descriptor carries the signal; there is nothing else to do."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
