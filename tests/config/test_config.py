"""The config file: defaults, errors with their place and what is expected, and secrets."""

import contextlib
import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from support import Judgement, Polling, fuzzed

from exporter.config import Config, ConfigError, LiveConfig, load_config
from exporter.config.credentials import Secret, SecretError, SecretSource, read_secret_file
from exporter.config.document import MAX_ERROR_CHARS, MAX_ERRORS, MAX_KEY_CHARS
from exporter.config.loading import parse_config
from exporter.config.values import split_address

ENVIRON = {"REMOVIT_API_KEY": "the-key"}
ROOT = Path(__file__).parent.parent.parent


def parse(text: str, **more: Any) -> Config:
    return parse_config(text, environ=ENVIRON, **more)


def errors(text: str, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, **more)
    return caught.value.errors


def test_an_empty_file_is_all_defaults() -> None:
    assert parse("") == parse("# nothing\n") == parse("upstream: {}") == Config()


def test_the_example_shows_every_key_with_its_default() -> None:
    text = (ROOT / "config.example.yaml").read_text()
    assert parse(text, directory=Path()) == Config()
    without_comments = text.replace("# ", "").replace("#", "")

    def names(model: type[BaseModel]) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            found.append(name)
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                found += names(field.annotation)
        return found

    missing = [name for name in names(Config) if f"{name}:" not in without_comments]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "polling:\n  min_interval: soon",
            [
                'config.yaml:2: polling.min_interval: expected a duration such as "2s", got "soon"'
                " (units: y, w, d, h, m, s, ms)"
            ],
        ),
        (
            "polling: {min_interval: 5}",
            ['config.yaml:1: polling.min_interval: expected a duration with its unit such as "5s"'],
        ),
        (
            "polling: {min_interval: 2m}",
            ["config.yaml:1: polling: min_interval is longer than max_interval"],
        ),
        (
            "polling: {max_interval: 10m}",
            ["config.yaml:1: polling: a tenth more than max_interval is not below stalled_after"],
        ),
        (
            "polling: {max_interval: 550s}",
            ["config.yaml:1: polling: a tenth more than max_interval is not below stalled_after"],
        ),
        (
            "polling: {recheck_after: [10m, 1m]}",
            ["config.yaml:1: polling: recheck_after: expected ascending times"],
        ),
        (
            "\nupstream:\n\n  timout: 3s",
            ["config.yaml:4: upstream.timout: unknown key; did you mean 'timeout'?"],
        ),
        (
            "jobs: [{job_id: a, lables: {}}]",
            ["config.yaml:1: jobs.0.lables: unknown key; did you mean 'labels'?"],
        ),
        ("upstrem: {}", ["config.yaml:1: upstrem: unknown key; did you mean 'upstream'?"]),
        ('upstream: {rate: "10"}', ['config.yaml:1: upstream.rate: expected a number, got "10"']),
        (
            "upstream: {concurrency: true}",
            ["config.yaml:1: upstream.concurrency: expected a whole number, got True"],
        ),
        (
            "upstream: {concurrency: 0}",
            ["config.yaml:1: upstream.concurrency: expected at least 1, got 0"],
        ),
        ("upstream: {rate: 0}", ["config.yaml:1: upstream.rate: expected more than 0, got 0"]),
        (
            "upstream: {rate: 20000}",
            ["config.yaml:1: upstream.rate: expected at most 10000, got"],
        ),
        ("upstream: 5", ["config.yaml:1: upstream: expected a mapping, got 5"]),
        ("jobs: 5", ["config.yaml:1: jobs: expected a list, got 5"]),
        (
            "upstream: {base_url: ftp://x}",
            ['config.yaml:1: upstream.base_url: expected a URL such as "https://api.removit.eu"'],
        ),
        (
            "upstream: {base_url: 'https://a..b'}",
            ['config.yaml:1: upstream.base_url: expected a URL such as "https://api.removit.eu"'],
        ),
        (
            "upstream: {base_url: 'https://exa mple'}",
            ['config.yaml:1: upstream.base_url: expected a URL such as "https://api.removit.eu"'],
        ),
        (
            "upstream: {base_url: 'https://x:99999'}",
            ['config.yaml:1: upstream.base_url: expected a URL such as "https://api.removit.eu"'],
        ),
        (
            "upstream: {base_url: 'https://u:p@x'}",
            ["config.yaml:1: upstream.base_url: expected a URL without user, query and fragment"],
        ),
        ("upstream: {base_url: 5}", ["config.yaml:1: upstream.base_url: expected a URL such as"]),
        (
            "upstream: {proxy_url: socks://x}",
            ['config.yaml:1: upstream.proxy_url: expected a proxy such as "http://proxy'],
        ),
        (
            "registration: {max_body_bytes: 2 MB}",
            ['config.yaml:1: registration.max_body_bytes: expected a size such as "1MiB", got'],
        ),
        (
            "registration: {allowed_labels: [job]}",
            ["config.yaml:1: registration.allowed_labels.0: the label name 'job' is reserved"],
        ),
        (
            "registration: {allowed_labels: [a-b]}",
            ["config.yaml:1: registration.allowed_labels.0: expected a label name of letters"],
        ),
        (
            "registration: {allowed_labels: [env]}\nmetrics: {const_labels: {env: x}}",
            ["config.yaml:1: registration.allowed_labels.0: 'env' is taken by metrics.const"],
        ),
        (
            "registration: {job_id_pattern: '['}",
            ["config.yaml:1: registration.job_id_pattern: not a regular expression"],
        ),
        (
            "registration: {job_id_pattern: '.*'}",
            ["config.yaml:1: registration.job_id_pattern: must not match ''"],
        ),
        (
            "metrics: {group_labels: [shop]}",
            ["config.yaml:1: metrics.group_labels.0: 'shop' is not among registration.allowed"],
        ),
        (
            "metrics: {group_labels: [a, b, c]}",
            ["config.yaml:1: metrics.group_labels: expected at most 2 of them, got"],
        ),
        (
            "metrics: {const_labels: {upstream: x}}",
            ["config.yaml:1: metrics.const_labels.upstream: the label name 'upstream' is reserved"],
        ),
        (
            "metrics: {per_job: {exclude: [x]}}",
            ["config.yaml:1: metrics.per_job.exclude.0: expected one of 'removit_job_info'"],
        ),
        (
            "storage: {path: ':memory:'}",
            ["config.yaml:1: storage.path: expected a file: a database in memory would be lost"],
        ),
        ("storage: {path: 5}", ["config.yaml:1: storage.path: expected a file's path, got 5"]),
        (
            "web: {listen_address: '10977'}",
            ['config.yaml:1: web.listen_address: expected an address such as "127.0.0.1:10977"'],
        ),
        ("web: {listen_address: 5}", ["config.yaml:1: web.listen_address: expected an address"]),
        (
            "web: {route_prefix: removit}",
            ['config.yaml:1: web.route_prefix: expected a path such as "/removit", got "removit"'],
        ),
        ("log: {level: loud}", ["config.yaml:1: log.level: expected one of 'debug', 'info'"]),
        (
            "jobs: [a b]",
            ['config.yaml:1: jobs.0: "a b" does not match registration.job_id_pattern'],
        ),
        (
            "jobs:\n  - job_id: a\n    labels:\n      shop: eu",
            ["config.yaml:4: jobs.0.labels.shop: not among registration.allowed_labels"],
        ),
        (
            "jobs: [{job_id: a, key: ''}]",
            ["config.yaml:1: jobs.0.key: expected a string of 1 to 256 characters"],
        ),
        (
            "jobs:\n- a\n- {job_id: a, key: k}",
            ["config.yaml:3: jobs.1: a is named on line 2 with other labels or another key"],
        ),
        ("jobs: [{labels: {}}]", ["config.yaml:1: jobs.0.job_id: is missing"]),
        ("jobs: [5]", ["config.yaml:1: jobs.0.job_id: expected a text, got 5; quote it"]),
        (
            "upstream: {name: ''}",
            ["config.yaml:1: upstream.name: expected a text that is not empty, got"],
        ),
        (
            f"upstream: {{name: {'x' * 65}}}",
            ["config.yaml:1: upstream.name: expected at most 64 characters, got"],
        ),
        ("- a\n- b", ["config.yaml:1: expected a mapping of sections such as `upstream:`"]),
        ("just text", ["config.yaml:1: expected a mapping of sections such as `upstream:`"]),
        (
            "a: [1, 2\nb: 3",
            ["config.yaml:2: not YAML: while parsing a flow sequence (from line 1 on) expected"],
        ),
        (
            "\na: 'x\n\n",
            [
                "config.yaml:4: not YAML: while scanning a quoted scalar (from line 2 on) found"
                " unexpected end of stream; a closing quote is missing"
            ],
        ),
        (
            "log:\n\tlevel: info",
            [
                "config.yaml:2: not YAML: while scanning for the next token found character '\\t'"
                " that cannot start any token; indent with spaces: YAML takes no tabs"
            ],
        ),
        (
            "log\n  level: info",
            [
                "config.yaml:2: not YAML: mapping values are not allowed here;"
                " a line above may lack its colon, or a text its quotes"
            ],
        ),
        (
            "log:\n  level: info\n format: json",
            [
                "config.yaml:3: not YAML: while parsing a block mapping (from line 1 on) expected"
                " <block end>, but found '<block mapping start>';"
                " is each key of the section indented alike?"
            ],
        ),
        (
            "upstream: {heartbeat: 0}",
            ["config.yaml:1: upstream.heartbeat: expected a duration from 1ms to 3650d, got 0s"],
        ),
        (
            "upstream: {api_key_env: '${MY_KEY}'}",
            [
                "config.yaml:1: upstream.api_key_env: expected the variable's name,"
                ' "MY_KEY", got "${MY_KEY}"'
            ],
        ),
        ("a: \x00", ["config.yaml:1: not YAML: special characters are not allowed"]),
        (
            "log: {}\nlog: {}",
            ["config.yaml:2: log: given twice, first on line 1"],
        ),
        ("? [a]\n: b", ["config.yaml:1: expected a name as key"]),
        ("a: &x [1]\nb: *x", ["config.yaml:2: aliases (`*name`) are not read"]),
        ("a: " + "[" * 30, ["config.yaml:1: nested deeper than 20 levels"]),
        ("log: {level: !!int x}", ["config.yaml:1: log.level: cannot be read: 'x'"]),
        (
            f"upstream: {{concurrency: 1{':59' * 100_000}}}",  # a number to the base 60
            ["config.yaml:1: upstream.concurrency: cannot be read: '1:59:59"],
        ),
        (
            f"upstream: {{rate: 0x{'f' * 5000}}}",
            ["config.yaml:1: upstream.rate: cannot be read: '0xfff"],
        ),
    ],
)
def test_an_error_names_its_line(text: str, expected: list[str]) -> None:
    found = errors(text)
    assert len(found) == len(expected)
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


def test_all_errors_come_at_once_in_the_order_of_their_lines() -> None:
    text = "polling:\n  min_interval: soon\nupstream: {rate: fast}\nnothing: 1\n"
    assert [line.split(" ")[0] for line in errors(text)] == [
        "config.yaml:2:",
        "config.yaml:3:",
        "config.yaml:4:",
    ]


def test_the_errors_that_are_shown_are_limited_in_number_and_length() -> None:
    found = errors("".join(f"k{at}: 1\n" for at in range(MAX_ERRORS + 5)))
    assert len(found) == MAX_ERRORS + 1
    assert found[-1] == "5 further errors are not shown"
    key = "k" * 100_000
    [line] = errors(f"? {key}\n: 1")
    assert line.startswith(f"config.yaml:1: {'k' * MAX_KEY_CHARS}…: unknown key; known here")
    [line] = ConfigError(["x" * 100_000]).errors
    assert len(line) == MAX_ERROR_CHARS + 1


def test_a_missing_key_names_both_ways_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("log: {}", environ={})
    assert caught.value.errors == [
        "config.yaml:1: upstream: no API key: the environment variable REMOVIT_API_KEY is not set;"
        " set it, or give upstream.api_key_file"
    ]
    with pytest.raises(ConfigError, match="neither api_key_file nor api_key_env is given"):
        parse_config("upstream: {api_key_env: null}", environ={})
    text = "upstream:\n  api_key_file: nowhere.key"
    assert errors(text, directory=tmp_path) == [
        f"config.yaml:2: upstream.api_key_file: {tmp_path / 'nowhere.key'}: cannot be read:"
        " No such file or directory"
    ]
    text = "registration: {token_file: nowhere}"
    [line] = errors(text, directory=tmp_path)
    assert line.startswith("config.yaml:1: registration.token_file: ")
    assert "nowhere: cannot be read" in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"two\nlines", "expected one line of visible ASCII"),
        (b"sp ace", "expected one line of visible ASCII"),
        (b"\xff", "expected one line of visible ASCII"),
        (b"x" * 70_000, "longer than 65536 bytes"),
    ],
)
def test_a_bad_key_file_is_refused_without_its_content(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    [line] = errors("upstream: {api_key_file: key}", directory=tmp_path)
    assert reason in line
    assert "two" not in line


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(path, environ=ENVIRON)
        return str(caught.value)

    assert refusal(tmp_path / "no.yaml").endswith(
        "no.yaml: cannot be read: No such file or directory"
    )
    assert refusal(tmp_path).endswith(": not a regular file")
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xff\n")
    assert refusal(tmp_path / "latin.yaml").endswith("latin.yaml:2: not UTF-8")
    (tmp_path / "big.yaml").write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    assert "longer than 16777216 bytes" in refusal(tmp_path / "big.yaml")


def test_relative_paths_are_relative_to_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k\n")
    (tmp_path / "c.yaml").write_text("upstream: {api_key_file: key}\nstorage: {path: /x/jobs.db}")
    config = load_config(tmp_path / "c.yaml", environ={})
    assert config.upstream.api_key_file == tmp_path / "key"
    assert config.storage.path == Path("/x/jobs.db")
    source = config.upstream.key_source({})
    assert source.current() is not None


def test_flags_take_precedence_over_the_file() -> None:
    text = "web: {listen_address: ':1'}\nlog: {level: debug}"
    config = parse(text, overrides={"web.listen_address": ":2", "storage.path": "x.db"})
    assert (config.web.listen_address, config.log.level) == (":2", "debug")


def test_an_error_in_a_flag_names_the_flag_and_not_the_file() -> None:
    found = errors("log: {level: loud}", overrides={"web.listen_address": "x"})
    assert found[0] == (
        '--web.listen-address: expected an address such as "127.0.0.1:10977", got "x"'
    )
    assert found[1].startswith("config.yaml:1: log.level: ")


def test_the_prefix_defaults_to_that_of_the_external_url() -> None:
    assert parse("").web.prefix == ""
    assert parse("web: {external_url: 'https://x/a/'}").web.prefix == "/a"
    text = "web: {external_url: 'https://x/a', route_prefix: /b/}"
    assert parse(text).web.prefix == "/b"


def test_dates_stay_text_and_other_scalars_are_refused_by_type() -> None:
    assert parse("jobs: [2026-01-01]").jobs[0].job_id == "2026-01-01"
    assert "expected a text, got True; quote it" in errors("upstream: {name: yes}")[0]
    [line] = errors("jobs: [12345]")
    assert "jobs.0.job_id: expected a text, got 12345; quote it" in line


@pytest.mark.parametrize(
    "text",
    [
        "upstream:\npolling:\n#  min_interval: 1s\n",
        "metrics:\n  per_job:\n",
        "jobs:\n# - a\njob_files:\n",
        "storage:\n",
    ],
)
def test_a_section_whose_keys_are_commented_out_is_all_defaults(text: str) -> None:
    assert parse(text) == parse("")


def test_a_flag_overrides_a_key_of_a_section_that_is_commented_out() -> None:
    assert parse("log:\n", overrides={"log.level": "debug"}).log.level == "debug"


@pytest.mark.parametrize("text", ["jobs: !mine [a]", "log: !mine {}", "log: {level: !mine info}"])
def test_tags_are_refused(text: str) -> None:
    assert errors(text) == ["config.yaml:1: tags are not read: !mine"]


@pytest.mark.parametrize("value", ["null", "true", "[]", "5", "1.5s", "''"])
def test_what_is_not_a_duration_is_refused(value: str) -> None:
    [line] = errors(f"polling: {{min_interval: {value}}}")
    assert "polling.min_interval: expected a duration" in line


@pytest.mark.parametrize(
    ("text", "address"),
    [("a:1", ("a", 1)), (":0", ("", 0)), ("[::1]:80", ("::1", 80))],
)
def test_addresses_are_split(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "a", "80", "a:b", "a:70000", "::1:80", "a:-1"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        split_address(text)


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.fuzz
@fuzzed(150)
@given(
    st.text(max_size=80)
    | st.dictionaries(st.sampled_from([*Config.model_fields]), YAML_VALUES).map(yaml.safe_dump)
)
def test_no_text_raises_anything_but_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hush-hush")
    text = "upstream: {proxy_url: 'http://u:hush-hush@proxy'}\nregistration: {token_file: token}"
    config = parse(text, directory=tmp_path)
    secret = Secret("hush-hush")
    shown = [repr(config), str(config), repr(config.model_dump()), repr(secret), str(secret)]
    assert not [text for text in shown if "hush-hush" in text]
    assert config.upstream.proxy == "http://u:hush-hush@proxy"
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)
    assert "hush" not in errors("upstream: {proxy_url: 'hush-hush'}")[0]


def test_a_secret_is_compared_whole() -> None:
    secret = Secret("key")
    assert secret.matches("key")
    assert not secret.matches("ke")
    assert not secret.matches("k\udcffy")


def test_a_secret_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, seconds = tmp_path / "key", 0.0
    path.write_text("one\n")
    source = SecretSource(path, "NAME", {"NAME": "unused"}, clock=lambda: seconds)

    def current() -> str:
        secret = source.current()
        assert secret is not None
        return secret.reveal()

    assert (current(), source.version) == ("one", 1)
    path.write_text("second")
    assert (current(), source.version) == ("one", 1)  # checked once a second
    seconds = 1.0
    assert (current(), source.version) == ("second", 2)
    path.write_text("half\nwritten")
    seconds = 2.0
    assert current() == "second"
    path.unlink()
    seconds = 3.0
    assert (current(), source.version) == ("second", 2)


def test_a_secret_may_come_from_the_environment() -> None:
    source = SecretSource(None, "NAME", {"NAME": "value"})
    assert (source.version, source.current() is not None) == (1, True)
    assert SecretSource(None, "NAME", {}).current() is None
    assert SecretSource(None).current() is None
    with pytest.raises(SecretError, match="the environment variable NAME is not set"):
        SecretSource(None, "NAME", {"NAME": ""}).check()
    SecretSource(None).check()


def test_a_line_end_is_not_part_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k\r\n")
    assert read_secret_file(tmp_path / "key").reveal() == "k"


def test_listeners_are_called_once_a_new_config_is_in_force() -> None:
    live, heard = LiveConfig(Config()), list[tuple[str, Config, Config]]()
    live.subscribe(lambda config: heard.append(("first", config, live())))
    live.subscribe(lambda config: heard.append(("second", config, live())))
    new = Config.model_validate({"upstream": {"name": "new"}})
    live.apply(new)
    assert heard == [("first", new, new), ("second", new, new)]


def test_a_listener_that_fails_keeps_a_new_config_from_no_other() -> None:
    live, heard = LiveConfig(Config()), list[Config]()
    mistake = ValueError("a listener's mistake")

    def fail(config: Config) -> None:
        raise mistake

    live.subscribe(fail)
    live.subscribe(heard.append)
    new = Config.model_validate({"upstream": {"name": "new"}})
    with pytest.raises(ExceptionGroup) as raised:
        live.apply(new)
    assert raised.value.exceptions == (mistake,)
    assert (live(), heard) == (new, [new])


@pytest.mark.parametrize(
    ("section", "double"), [("judgement", Judgement()), ("polling", Polling())]
)
def test_the_rules_of_the_core_tests_are_the_defaults(section: str, double: Any) -> None:
    defaults = getattr(Config(), section)
    for rule in fields(double):
        default, told = getattr(defaults, rule.name), getattr(double, rule.name)
        assert type(told)(default) == told, rule.name


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("https://host/api/v1", "https://host"),
        ("https://host:8443/api/v1/", "https://host:8443"),
        ("https://host/API/v1/status", "https://host"),
        ("https://host/api/v1/upload", "https://host"),
        ("https://host/gateway/api/v1", "https://host/gateway"),
    ],
)
def test_a_base_url_with_the_path_of_the_api_is_refused_with_the_right_value(
    given: str, right: str
) -> None:
    [error] = errors(f"upstream:\n  base_url: {given}")
    assert error.endswith(f'base_url: the exporter adds /api/v1 itself; expected "{right}"')
    assert parse(f"upstream:\n  base_url: {right}").upstream.base_url == right


def test_a_ca_file_that_cannot_be_used_is_an_error_of_the_config(tmp_path: Path) -> None:
    text = f"upstream:\n  ca_file: {tmp_path}/ca.pem"
    for content, message in ((None, "cannot be read"), ("garbage", "expected certificates in PEM")):
        if content is not None:
            (tmp_path / "ca.pem").write_text(content)
        [error] = errors(text)
        assert error.startswith(f"config.yaml:2: upstream.ca_file: {tmp_path}/ca.pem: {message}")


def test_the_database_is_next_to_the_config_by_default(tmp_path: Path) -> None:
    config = parse("", directory=tmp_path)
    assert config.storage.path == tmp_path / "removit-exporter.db"
    assert config.token_file == tmp_path / "removit-exporter.db.token"
