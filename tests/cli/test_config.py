"""The table of settings: precedence, errors that help, and documentation that is the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from holdfast.cli.main import main
from holdfast.cli.operate import serve
from holdfast.config import BY_NAME, SETTINGS, ConfigError, Effective, load, settings_document

ROOT = Path(__file__).resolve().parents[2]


def test_documentation_is_the_table() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_document()


def test_every_setting_says_what_it_means() -> None:
    for setting in SETTINGS:
        assert setting.help.endswith("."), setting.name
        assert setting.parse(setting.default, "itself") == setting.default


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return str(path)


def _load(tmp_path: Path, text: str = "", **environ: str) -> Effective:
    return load({"data": str(tmp_path)}, environ=environ, config_file=_file(tmp_path, text))


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    text = 'region = "file"\nworkers = 3\nidle_seconds = 7'
    environ = {"HOLDFAST_REGION": "env", "HOLDFAST_WORKERS": "4"}
    settings, origins = load({"region": "flag"}, environ=environ, config_file=_file(tmp_path, text))
    assert settings.region == "flag"
    assert origins["region"] == "flag --region"
    assert settings.workers == 4
    assert origins["workers"] == "environment HOLDFAST_WORKERS"
    assert settings.idle_seconds == 7
    assert origins["idle_seconds"].startswith("file ")
    assert settings.durability == "full"
    assert origins["durability"] == "default"


def test_file_in_data_is_found(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('listen = ["127.0.0.1:1", "unix:/x"]')
    assert load({"data": str(tmp_path)}, environ={}).settings.listen == ("127.0.0.1:1", "unix:/x")
    (tmp_path / "holdfast.toml").write_text('data = "elsewhere"')
    with pytest.raises(ConfigError, match="data can't be set"):
        load({"data": str(tmp_path)}, environ={})


def test_sizes_lists_and_switches(tmp_path: Path) -> None:
    settings, _ = _load(
        tmp_path,
        "single_process = true",
        HOLDFAST_RESERVE_BYTES="2 MiB",
        HOLDFAST_DOMAIN="a.example, b.example",
    )
    assert settings.reserve_bytes == 2 << 20
    assert settings.domain == ("a.example", "b.example")
    assert settings.single_process is True


@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        ("regoin = 'x'", {}, "unknown setting regoin; did you mean region?"),
        ("", {"HOLDFAST_WORKRES": "1"}, "HOLDFAST_WORKRES; did you mean HOLDFAST_WORKERS?"),
        ("workers = 'many'", {}, "workers (from file"),
        ("workers = true", {}, "is not a whole number"),
        ("workers = -1", {}, "is not between"),
        ("grace_seconds = nan", {}, "is not between"),
        ("durability = 'none'", {}, "is none of full, relaxed"),
        ("tls_cert = 'x'", {}, "tls_cert and tls_key must be set together"),
        ("listen = []", {}, "there is no address"),
        ("region = [", {}, "is not valid TOML"),
        ("", {"HOLDFAST_SECRET_KEY": "12345678"}, "must be set together"),
        ("", {"HOLDFAST_INLINE_BYTES_MAX": "1 KB"}, "is not a size, such as"),
    ],
)
def test_errors_say_what_is_wrong(
    tmp_path: Path, text: str, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text, **environ)
    assert message in str(caught.value)


def test_a_secret_is_never_in_a_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, HOLDFAST_SECRET_KEY="hush\nhush", HOLDFAST_ACCESS_KEY="abc")
    assert "hush" not in str(caught.value)
    assert BY_NAME["secret_key"].flag == ""


def test_missing_named_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        load({}, environ={"HOLDFAST_CONFIG": str(tmp_path / "none.toml")})


def _run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=dict(environ))


def test_config_command_masks_secrets(tmp_path: Path) -> None:
    keys = {"HOLDFAST_ACCESS_KEY": "abc", "HOLDFAST_SECRET_KEY": "hush-hush-hush"}
    plain = _run("config", str(tmp_path), "--workers", "2", **keys)
    assert plain.exit_code == 0
    assert "hush" not in plain.output
    assert "flag --workers" in plain.output
    document = json.loads(_run("config", str(tmp_path), "--json", **keys).output)
    assert document["secret_key"] == {
        "value": "********",
        "from": "environment HOLDFAST_SECRET_KEY",
    }
    assert document["listen"]["value"] == ["127.0.0.1:9000"]
    assert set(document) == set(BY_NAME)


def test_every_option_of_serve_is_a_setting() -> None:
    options = {flag for param in serve.params for flag in param.opts}
    for setting in SETTINGS:
        assert setting.argument or setting.secret or setting.flag in options
    assert options <= {setting.flag for setting in SETTINGS} | {"--config", "data"}


def test_wrong_setting_is_one_line_and_status_2(tmp_path: Path) -> None:
    result = _run("serve", str(tmp_path), "--workers", "none")
    assert result.exit_code == 2
    assert result.stderr.startswith("holdfast: workers (from flag --workers)")
    assert result.stderr.count("\n") == 1


def test_version() -> None:
    assert _run("version").output.startswith("holdfast 0.")
