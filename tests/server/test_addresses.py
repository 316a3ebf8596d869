from __future__ import annotations

import ipaddress

import pytest

from animate_pipelines.errors import AnimateError, FetchError, InvalidField
from animate_server.addresses import AddressPolicy, check_url, redact

PUBLIC = AddressPolicy.of([])

REFUSED = [
    "http://127.0.0.1/",
    "http://127.8.9.1:8080/x",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://0.0.0.0/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    "http://198.18.0.1/",
    "http://240.0.0.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[fc00::1]/",
    "http://[fd12:3456::1]/",
    "http://[fe80::1]/",
    "http://[ff02::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://a.localhost/",
    "http://metadata.google.internal/",
    "http://127。0。0。1/",
    "http://①②⑦.⓪.⓪.①/",
]
MALFORMED = [
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
    "http://127.0.0.1%00.example.com/",
    "http://user:secret@example.com/",
    "http://user@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://exa mple.com/",
    "http://example.com/\r\nHost: 127.0.0.1",
    "http://example.com:99999/",
    "http:///path",
    "http://",
    "http://[::1/",
    "http://-a.example/",
    "http://" + "a" * 64 + ".example/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "https://example.com/" + "a" * 9000,
]


@pytest.mark.parametrize("url", REFUSED)
def test_private_and_odd_addresses_are_refused(url: str) -> None:
    with pytest.raises(FetchError):
        check_url(url, PUBLIC)


@pytest.mark.parametrize("url", MALFORMED)
def test_what_is_no_plain_url_is_invalid(url: str) -> None:
    with pytest.raises(InvalidField):
        check_url(url, PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a?b=c",
        "http://8.8.8.8/",
        "http://[2606:4700:4700::1111]/",
        "https://bücher.example/x.png",
        "https://my_bucket.s3.example.com:9000/x",
    ],
)
def test_public_urls_are_taken(url: str) -> None:
    check_url(url, PUBLIC)


def test_a_target_is_named_in_ascii() -> None:
    target = check_url("https://BÜCHER.example./x", PUBLIC)
    assert (target.host, target.port, target.address) == ("xn--bcher-kva.example", 443, None)
    literal = check_url("http://8.8.8.8:81/", PUBLIC)
    assert (literal.port, literal.address) == (81, ipaddress.ip_address("8.8.8.8"))


@pytest.mark.parametrize("entry", ["10.1.2.3", "10.1.0.0/16", "10.0.0.0/8"])
def test_the_allow_list_opens_addresses(entry: str) -> None:
    policy = AddressPolicy.of([entry])
    check_url("http://10.1.2.3:9000/x", policy)
    check_url("http://[::ffff:10.1.2.3]/x", policy)
    with pytest.raises(FetchError):
        check_url("http://192.168.0.1/", policy)


def test_the_allow_list_opens_hosts_by_their_exact_name() -> None:
    policy = AddressPolicy.of(["minio.local", "::1"])
    check_url("http://minio.local:9000/x", policy)
    assert policy.permits("minio.local", ipaddress.ip_address("10.9.9.9"))
    assert not policy.permits("evil-minio.local", ipaddress.ip_address("10.9.9.9"))
    assert not policy.permits("a.minio.local", ipaddress.ip_address("10.9.9.9"))
    check_url("http://[::1]/x", policy)


def test_an_air_gapped_server_fetches_only_what_is_allowed() -> None:
    policy = AddressPolicy.of(["minio.local"], public=False)
    check_url("http://minio.local/x", policy)
    for url in ("https://example.com/", "http://8.8.8.8/"):
        with pytest.raises(FetchError):
            check_url(url, policy)


@pytest.mark.parametrize("url", [*REFUSED, *MALFORMED, "http://u:hunter2@10.0.0.1/?hunter2=hunter2#hunter2"])
def test_errors_hold_no_secrets(url: str) -> None:
    secret = url.replace("user:secret", "hunter2").split("#")[0] + "?token=hunter2"
    with pytest.raises(AnimateError) as refused:
        check_url(secret, PUBLIC)
    assert "hunter2" not in str(refused.value.to_json())


def test_redact() -> None:
    assert redact("https://u:p@host:81/a/b?c=d#e") == "https://host:81/a/b?..."
    assert redact("https://host/a") == "https://host/a"
    assert redact("upload:abc") == "upload:abc"
