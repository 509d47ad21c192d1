"""Whom we talk to, and with which keys: arguments, URL, environment, ~/.aws, in this order.

Rule: the first source that has a value wins, for each of keys, endpoint and region on its own; keys
come as a whole from one source. A profile that is named by argument comes before the environment.
Names and order are those of the AWS SDKs (docs.aws.amazon.com/sdkref/latest/guide/settings-reference);
HOLDFAST_* stands before AWS_*.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from holdfast.client.errors import CredentialsNotFound, InvalidRequest

DEFAULT_REGION = "us-east-1"


class Credentials(NamedTuple):
    """`expires`: seconds since the epoch, None for keys that last."""

    access_key: str
    secret_key: str
    session_token: str = ""
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What `connect` found. `endpoint` "" means AWS; `credentials` None means anonymous."""

    endpoint: str
    region: str
    credentials: Credentials | Callable[[], Credentials] | None


def resolve(
    url: str | None = None,
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    anonymous: bool = False,
    credentials: Credentials | Callable[[], Credentials] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Identity:
    """Raises CredentialsNotFound, InvalidRequest (a URL that is none)."""
    env = os.environ if environ is None else environ
    url, url_keys = _split_url(url) if url else ("", None)
    named = profile or env.get("HOLDFAST_PROFILE") or env.get("AWS_PROFILE")
    settings = _profile(named or "default", env, required=profile is not None)
    found: Credentials | Callable[[], Credentials] | None = credentials
    if anonymous:
        found = None
    elif access_key or secret_key:
        if not (access_key and secret_key):
            raise CredentialsNotFound(message="access_key and secret_key belong together")
        found = Credentials(access_key, secret_key, session_token or "")
    elif found is None:
        from_environment = None if profile else _environment_keys(env)
        found = url_keys or from_environment or _profile_keys(settings)
        if found is None:
            raise CredentialsNotFound(message=f"no keys found (profile {named or 'default'!r})")
    return Identity(
        url or _endpoint(settings, env, profile is not None),
        region
        or (settings.get("region") if profile else None)
        or env.get("HOLDFAST_REGION")
        or env.get("AWS_REGION")
        or env.get("AWS_DEFAULT_REGION")
        or settings.get("region")
        or DEFAULT_REGION,
        found,
    )


def _split_url(url: str) -> tuple[str, Credentials | None]:
    """The endpoint without keys, and the keys in it (`http://KEY:SECRET@host`, percent-encoded)."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            message=f"{parts.scheme}://{parts.hostname or ''} is not an endpoint",
            hint="An endpoint is http://host:port or https://host, without bucket and key.",
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidRequest(
            message="an endpoint has no path and no query", hint="Bucket and key are arguments."
        )
    keys = None
    if parts.username and parts.password:
        keys = Credentials(unquote(parts.username), unquote(parts.password))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", keys


def _environment_keys(env: Mapping[str, str]) -> Credentials | None:
    for key, secret, token in (
        ("HOLDFAST_ACCESS_KEY", "HOLDFAST_SECRET_KEY", "HOLDFAST_SESSION_TOKEN"),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    ):
        if env.get(key) and env.get(secret):
            return Credentials(env[key], env[secret], env.get(token, ""))
    return None


def _profile_keys(settings: Mapping[str, str]) -> Credentials | None:
    key, secret = settings.get("aws_access_key_id"), settings.get("aws_secret_access_key")
    if not (key and secret):
        return None
    return Credentials(key, secret, settings.get("aws_session_token", ""))


def _endpoint(settings: Mapping[str, str], env: Mapping[str, str], profile_first: bool) -> str:
    """ "" for AWS itself. https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html"""
    from_profile = settings.get("s3.endpoint_url") or settings.get("endpoint_url") or ""
    if env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    from_environment = (
        env.get("HOLDFAST_ENDPOINT")  # the command line's name for it
        or env.get("HOLDFAST_ENDPOINT_URL")
        or env.get("AWS_ENDPOINT_URL_S3")
        or env.get("AWS_ENDPOINT_URL")
        or ""
    )
    found = from_profile or from_environment if profile_first else from_environment or from_profile
    return _split_url(found)[0] if found else ""


def _profile(name: str, env: Mapping[str, str], *, required: bool) -> dict[str, str]:
    """The settings of one profile out of both files. Raises CredentialsNotFound."""
    home = Path(env.get("HOME") or Path.home()) / ".aws"
    config_path = Path(env.get("AWS_CONFIG_FILE") or home / "config")
    keys_path = Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials")
    config, keys = _read(config_path), _read(keys_path)
    section = name if name == "default" and name in config else f"profile {name}"
    if required and section not in config and name not in keys:
        titles = {title for title in config if not title.startswith("services ")}
        known = {title.removeprefix("profile ") for title in titles} | set(keys)
        raise CredentialsNotFound(
            message=f"no profile {name!r} in {config_path} or {keys_path}",
            hint=f"There are: {', '.join(sorted(known)) or 'none'}.",
        )
    settings = dict(config.get(section, {}))
    services = config.get(f"services {settings.get('services', '')}", {})
    for line in services.get("s3", "").splitlines():
        setting, _, value = line.partition("=")
        if value:
            settings[f"s3.{setting.strip()}"] = value.strip()
    return settings | keys.get(name, {})


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        text = path.read_text("utf-8")
    except OSError:
        return {}
    except UnicodeDecodeError as error:
        raise CredentialsNotFound(message=f"{path} can't be read: {error}") from None
    import configparser  # only where there is a file

    parser = configparser.RawConfigParser(default_section="\0", interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise CredentialsNotFound(message=f"{path} can't be read: {error}") from None
    return {title: dict(parser.items(title)) for title in parser.sections()}
