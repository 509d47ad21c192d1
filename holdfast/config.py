"""Every setting, once. The fields of `Settings` are the table: the command's options, the
environment, the TOML file and docs/settings.md derive from it.

Precedence: flag, then environment, then file, then default. Nothing is dropped silently: an unknown
key of the file and an unknown HOLDFAST_ variable are errors that name the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

ENVIRONMENT_PREFIX = "HOLDFAST_"
#: the file that is read when no --config is given, inside DATA
DEFAULT_FILE = "holdfast.toml"
#: names a file of settings; itself no setting, as it must be known before the file is read
CONFIG_VARIABLE = "HOLDFAST_CONFIG"
#: what the client and the command line read, no settings of the server
CLIENT_VARIABLES = frozenset(
    f"{ENVIRONMENT_PREFIX}{name}"
    for name in ("ENDPOINT", "ENDPOINT_URL", "PROFILE", "SESSION_TOKEN")
)
CONFIG_FILE_BYTES_MAX = 1 << 20


class ConfigError(ValueError):
    """A setting that can't be used; the message says which, from where, and what would be right."""


class Setting(NamedTuple):
    """A row of the table."""

    name: str  # the attribute of Settings and the key in the file
    kind: str  # text, choice, list, integer, seconds, bytes or switch
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: float = float("inf")
    secret: bool = False
    #: a positional argument instead of an option
    argument: bool = False

    @property
    def flag(self) -> str:
        """The option; "" for a secret, which every user of the machine could read in `ps`."""
        if self.secret:
            return ""
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()

    def parse(self, value: object, source: str) -> Any:
        """`value`, as text or as TOML gives it, in this setting's type. Raises ConfigError."""
        try:
            return PARSERS[self.kind](self, value)
        except ValueError as error:
            shown = "the value given" if self.secret else repr(value)
            raise ConfigError(f"{self.name} (from {source}): {shown} {error}") from None

    def show(self, value: Any) -> str:
        """The value as people read it; secrets masked."""
        if self.secret:
            return "********" if value else ""
        if self.kind == "list":
            return ", ".join(value)
        if self.kind == "switch":
            return "true" if value else "false"
        return f"{value:g}" if isinstance(value, float) else str(value)


def _parse_text(setting: Setting, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    if "\x00" in value or "\n" in value:
        raise ValueError("holds a line break or NUL")
    if setting.choices and value not in setting.choices:
        raise ValueError("is none of " + ", ".join(setting.choices))
    return value


def _parse_list(setting: Setting, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list")
    items = (_parse_text(setting, item).strip() for item in value)
    return tuple(item for item in items if item)


def _bounded(setting: Setting, number: float) -> float:
    if not setting.minimum <= number <= setting.maximum:  # also refuses NaN
        raise ValueError(f"is not between {setting.minimum:g} and {setting.maximum:g}")
    return number


def _parse_integer(setting: Setting, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("is not a whole number")
    try:
        number = int(value)
    except ValueError:
        raise ValueError("is not a whole number") from None
    return int(_bounded(setting, number))


def _parse_seconds(setting: Setting, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("is not a number of seconds")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("is not a number of seconds") from None
    return _bounded(setting, number)


def _parse_bytes(setting: Setting, value: object) -> int:
    factor = 1
    if isinstance(value, str):
        text = value.strip().lower()
        for unit, size in (("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30)):
            if text.endswith(unit):
                text, factor = text.removesuffix(unit).rstrip(), size
        value = text
    try:
        return int(_bounded(setting, _parse_integer(setting, value) * factor))
    except ValueError as error:
        hint = "is not a size, such as 65536 or 64KiB" if "whole" in str(error) else str(error)
        raise ValueError(hint) from None


def _parse_switch(setting: Setting, value: object) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError("is neither true nor false")
    return words[value.lower()]


PARSERS: dict[str, Callable[[Setting, object], Any]] = {
    "text": _parse_text,
    "choice": _parse_text,
    "list": _parse_list,
    "integer": _parse_integer,
    "seconds": _parse_seconds,
    "bytes": _parse_bytes,
    "switch": _parse_switch,
}


def _row(kind: str, default: T, help: str, **more: Any) -> T:
    """A field of Settings with its row; `Any` because the field's own annotation is the type."""
    row: Any = dataclasses.field(
        default=default, metadata={"kind": kind, "help": help, "more": more}
    )
    return row  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings. Sizes are bytes, times seconds."""

    data: str = _row(
        "text",
        "./holdfast-data",
        "Directory that holds everything the server keeps.",
        argument=True,
    )
    listen: tuple[str, ...] = _row(
        "list",
        ("127.0.0.1:9000",),
        "Address to serve on: HOST:PORT, [IPV6]:PORT or unix:PATH. Port 0 takes a free one.",
    )
    workers: int = _row("integer", 0, "Worker processes. 0: one for each core.", maximum=256)
    region: str = _row("text", "us-east-1", "Region that requests must be signed for.")
    domain: tuple[str, ...] = _row(
        "list", (), "Domain for virtual-host style: BUCKET.DOMAIN names the bucket."
    )
    website_domain: tuple[str, ...] = _row(
        "list", (), "Domain for websites: BUCKET.DOMAIN serves the bucket as a web server does."
    )
    tls_cert: str = _row(
        "text", "", "Certificate chain, PEM. With tls_key, every TCP address speaks TLS; "
        "read again when the files change.",
    )  # fmt: skip
    tls_key: str = _row("text", "", "Private key of the certificate, PEM.")
    durability: str = _row(
        "choice",
        "full",
        "full: on the disk before the answer. relaxed: a power cut may lose the last seconds.",
        choices=("full", "relaxed"),
    )
    access_key: str = _row(
        "text", "", "Root access key. Empty: generated at the first start and kept in DATA."
    )
    secret_key: str = _row("text", "", "Root secret key, with access_key.", secret=True)
    log_format: str = _row(
        "choice", "text", "Form of the log on standard error.", choices=("text", "json")
    )
    access_log: str = _row(
        "text", "", "File that gets a line for each request, - for standard output. Empty: none."
    )
    grace_seconds: float = _row(
        "seconds", 30.0, "Time that requests under way have to finish at shutdown.", maximum=3600
    )
    connections_max: int = _row(
        "integer", 10_000, "Open connections of one worker; beyond it clients get 503.", minimum=1
    )
    server_log_seconds: float = _row(
        "seconds", 300.0, "Time after which S3 server access logs are written to their bucket.",
        minimum=0.05,
    )  # fmt: skip
    idle_seconds: float = _row(
        "seconds", 75.0, "Time a connection is kept open between two requests.", minimum=0.1
    )
    head_seconds: float = _row(
        "seconds", 20.0, "Time a client has to send a request's head.", minimum=0.1
    )
    body_seconds: float = _row(
        "seconds", 30.0, "Time an upload may stand still before it is cut off.", minimum=0.1
    )
    write_seconds: float = _row(
        "seconds",
        60.0,
        "Time a download may stand still before it is cut off; after waiting so long for the client in"
        " all, it must also have taken 256 bytes a second.",
        minimum=0.1,
        maximum=36_000,  # leases of reads count on it: LEASE_MS_MAX
    )
    inline_bytes_max: int = _row(
        "bytes", 32768, "Content up to this size is kept in the database.", maximum=1 << 20
    )
    default_object_ownership: str = _row(
        "choice",
        "BucketOwnerEnforced",
        "Object ownership of new buckets. BucketOwnerEnforced switches ACLs off.",
        choices=("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"),
    )
    default_public_access_block: bool = _row(
        "switch", True, "Whether new buckets begin with all public access blocked."
    )
    reserve_bytes: int = _row(
        "bytes",
        64 << 20,
        "Disk space kept in reserve, so that a full disk can still delete. Below 32 MiB a large batch of"
        " writes can outgrow it.",
        maximum=1 << 40,
    )
    gc_grace_seconds: float = _row(
        "seconds", 3600.0, "Age at which content that nothing refers to is removed.", minimum=2
    )
    multipart_expiry_days: int = _row(
        "integer", 7, "Days without a new part after which an unfinished multipart upload is aborted. "
        "0: never.", maximum=3650,
    )  # fmt: skip
    single_process: bool = _row(
        "switch", False, "Run everything in one process, as where fork is missing."
    )
    loop: str = _row(
        "choice", "auto", "Event loop. auto: uvloop where it is installed.",
        choices=("auto", "uvloop", "asyncio"),
    )  # fmt: skip

    @property
    def worker_count(self) -> int:
        """How many workers to run."""
        if self.workers:
            return self.workers
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


def _table() -> tuple[Setting, ...]:
    return tuple(
        Setting(
            field.name, field.metadata["kind"], field.default, field.metadata["help"],
            **field.metadata["more"],
        )
        for field in dataclasses.fields(Settings)
    )  # fmt: skip


SETTINGS: tuple[Setting, ...] = _table()
BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}


class Effective(NamedTuple):
    """The settings, and for each name where its value came from (`default`, `flag --x`, …)."""

    settings: Settings
    origins: dict[str, str]


def load(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    config_file: str | None = None,
) -> Effective:
    """Flags (by setting name; None and () are not given) over environment over file over defaults.

    Without `config_file` or HOLDFAST_CONFIG, DATA/holdfast.toml is read when it is there.
    Raises ConfigError.
    """
    flags = {name: value for name, value in (flags or {}).items() if value not in (None, ())}
    environ = os.environ if environ is None else environ
    variables = _from_environment(environ)
    named = config_file or environ.get(CONFIG_VARIABLE)
    data = flags.get("data", variables.get("data", BY_NAME["data"].default))
    path = Path(named) if named else Path(str(data)) / DEFAULT_FILE
    document = _from_file(path, required=bool(named))
    if not named and "data" in document:
        raise ConfigError(f"data can't be set in {path}, which was found through it")

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        name = setting.name
        if name in flags:
            origin, raw = "argument" if setting.argument else f"flag {setting.flag}", flags[name]
        elif name in variables:
            origin, raw = f"environment {setting.env}", variables[name]
        elif name in document:
            origin, raw = f"file {path}", document[name]
        else:
            values[name], origins[name] = setting.default, "default"
            continue
        values[name], origins[name] = setting.parse(raw, origin), origin
    settings = Settings(**values)
    _check_together(settings)
    return Effective(settings, origins)


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    by_variable = {setting.env: setting.name for setting in SETTINGS}
    found: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        if variable in CLIENT_VARIABLES:
            continue
        if variable not in by_variable:
            near = _nearest(variable, [*by_variable, CONFIG_VARIABLE])
            raise ConfigError(f"unknown environment variable {variable}{near}")
        if value != "":
            found[by_variable[variable]] = value
    return found


def _from_file(path: Path, required: bool) -> dict[str, object]:
    import tomllib  # most starts have no file

    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_FILE_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"there is no file {path}") from None
        return {}
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    if len(raw) > CONFIG_FILE_BYTES_MAX:
        raise ConfigError(f"{path} is longer than {CONFIG_FILE_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(raw.decode())
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    for key in document:
        if key not in BY_NAME:
            raise ConfigError(f"{path}: unknown setting {key}{_nearest(key, list(BY_NAME))}")
    return document


def _nearest(name: str, valid: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(valid))}"


def _check_together(settings: Settings) -> None:
    """What no row can say by itself."""
    if not settings.listen:
        raise ConfigError("listen: there is no address to serve on")
    for one, other in (("tls_cert", "tls_key"), ("access_key", "secret_key")):
        if bool(getattr(settings, one)) != bool(getattr(settings, other)):
            raise ConfigError(f"{one} and {other} must be set together")
    if same := sorted({*settings.domain} & {*settings.website_domain}):
        raise ConfigError(f"{same[0]} can't be both a domain and a website_domain")
    if settings.access_key and not 3 <= len(settings.access_key) <= 128:
        raise ConfigError("access_key must have 3 to 128 characters")
    if set(settings.access_key) & set("/,= \t"):
        raise ConfigError("access_key must not hold a slash, comma, equals sign or blank")
    if settings.secret_key and len(settings.secret_key) < 8:
        raise ConfigError("secret_key must have at least 8 characters")
    if not settings.region or not settings.region.isascii() or "/" in settings.region:
        raise ConfigError("region must be a plain name such as us-east-1")


def settings_document() -> str:
    """docs/settings.md, whole."""
    lines = [
        "# Settings",
        "",
        "Generated from `holdfast/config.py` by `python -m holdfast.config`; do not edit.",
        "",
        "A flag wins over the environment, that over the file, that over the default.",
        f"The file is TOML: `--config FILE`, `{CONFIG_VARIABLE}`, or else `DATA/{DEFAULT_FILE}`.",
        "A list is a TOML array, a repeated flag, or text with commas.",
        "Sizes take `KiB`, `MiB` and `GiB`.",
        "`holdfast config` prints the effective settings and where each came from.",
        "",
        "| file | flag | environment | type | default | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        flag = f"`{setting.flag}`" if setting.flag else "(none)"
        flag = "`DATA` (argument)" if setting.argument else flag
        kind = " or ".join(setting.choices) or setting.kind
        shown = setting.show(setting.default)
        default = f"`{shown}`" if shown else "(none)"
        lines.append(
            f"| `{setting.name}` | {flag} | `{setting.env}` | {kind} | {default} | {setting.help} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path("docs/settings.md").write_text(settings_document())
