"""What webhooks may reach: every spelling of every address that is not public is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.alerts import guard
from registry.alerts.sending import Refused, Rules

STRICT, OPEN = Rules(), Rules(allow_private=True)

PRIVATE_4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip
PRIVATE_6 = [
    "::/96", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
    "3fff::/20", "5f00::/16", "fc00::/7", "fd00:ec2::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip

private_4 = st.sampled_from(PRIVATE_4).flatmap(lambda block: st.ip_addresses(network=block))
private_6 = st.sampled_from(PRIVATE_6).flatmap(lambda block: st.ip_addresses(network=block))
wrapped_4 = st.tuples(
    private_4, st.sampled_from(["::ffff:0:0", "::", "64:ff9b::", "64:ff9b:1::"])
).map(lambda pair: ipaddress.IPv6Address(int(ipaddress.IPv6Address(pair[1])) | int(pair[0])))
tunnelled_4 = st.tuples(
    st.ip_addresses(v=4), st.sampled_from([0x2002 << 112, 0x20010000 << 96])
).map(
    lambda pair: ipaddress.IPv6Address(
        pair[1] | (int(pair[0]) << (80 if pair[1] >> 112 == 0x2002 else 64))
    )
)


def refused_at_once(url: str, rules: Rules = STRICT) -> str:
    with pytest.raises(Refused) as caught:
        guard.locate(guard.read(url, rules), rules, lambda host, port: ["93.184.216.34"], 1)
    assert caught.value.result == "permanent"
    return caught.value.sentence


@given(private_4 | private_6 | wrapped_4 | tunnelled_4)
def test_no_special_address_passes_however_it_is_wrapped(address: guard.Address) -> None:
    """IANA's special blocks, and IPv4 inside IPv6 in every form that leads to it."""
    assert guard.judge(address, STRICT) is not None


@given(st.ip_addresses())
def test_what_passes_is_global_unicast(address: guard.Address) -> None:
    """By Python's table and by the one of IANA above."""
    if guard.judge(address, STRICT) is not None:
        return
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    assert address.is_global
    assert not address.is_multicast
    if isinstance(address, ipaddress.IPv6Address):
        assert address in ipaddress.ip_network("2000::/3") or address in ipaddress.ip_network(
            "64:ff9b::/96"
        )
    blocks = [ipaddress.ip_network(block) for block in (*PRIVATE_4, *PRIVATE_6)]
    assert not any(address in block for block in blocks if block.version == address.version)


@given(private_4 | private_6, st.lists(st.just("93.184.216.34"), max_size=3))
def test_one_bad_address_among_good_ones_refuses_the_name(
    address: guard.Address, good: list[str]
) -> None:
    """A name server may not choose for us which of its answers is taken."""
    place = guard.read("https://hooks.example.com/x", STRICT)
    with pytest.raises(Refused):
        guard.locate(place, STRICT, lambda host, port: [*good, str(address)], 5)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "64:ff9b::808:808"]
)
def test_public_addresses_pass(address: str) -> None:
    """The last one is how a network without IPv4 reaches 8.8.8.8."""
    assert guard.judge(ipaddress.ip_address(address), STRICT) is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "this machine itself"), ("::1", "this machine itself"),
        ("::ffff:127.0.0.1", "this machine itself"), ("169.254.169.254", "metadata"),
        ("fe80::1", "metadata"), ("fd00:ec2::254", "not a public address"),
        ("0.0.0.0", "no address of one machine"), ("224.0.0.1", "no address of one machine"),
    ],
)  # fmt: skip
def test_a_refusal_says_why(address: str, why: str) -> None:
    """Somebody has to understand it."""
    assert why in str(guard.judge(ipaddress.ip_address(address), STRICT))


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"])
def test_what_is_no_machine_is_refused_even_where_private_is_allowed(address: str) -> None:
    """`0.0.0.0` is this machine on some systems and nothing on others."""
    assert guard.judge(ipaddress.ip_address(address), OPEN) is not None


def test_private_addresses_and_plain_http_pass_where_they_are_allowed() -> None:
    """The administrator's setting."""
    place = guard.read("http://receiver:8080/x", OPEN)
    assert guard.locate(place, OPEN, lambda host, port: ["10.0.0.7", "::1"], 5) == (
        "10.0.0.7",
        "::1",
    )


HOSTILE = [
    "http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd", "gopher://x.example/",
    "https://", "https:///x", "https:hooks.example.com", "hooks.example.com", "", "//hooks.example.com/",
    "https://user@hooks.example.com/", "https://hooks.example.com@127.0.0.1/",
    "https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://2130706433/",
    "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://017700000001/",
    "https://127.0.0.1./", "https://127.0.0.01/", "https://0/", "https://0.0.0.0/", "https://1.2.3.4.5/",
    "https://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/", "https://100.100.100.200/",
    "https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/",
    "https://[0:0:0:0:0:0:0:1]/", "https://[::1", "https://::1/", "https://[127.0.0.1]/",
    "https://localhost/", "https://localhost./", "https://hooks.example.com./", "https://a..b.example/",
    "https://.example.com/", "https://-a.example/", "https://a b.example/", "https://a%2eexample/",
    "https://%31%32%37.0.0.1/", "https://①②⑦.0.0.1/", "https://127。0。0。1/", "https://１２７.０.０.１/",
    "https://hooks.example.com\\@127.0.0.1/", "https://hooks.example.com\t/", "https://hooks.example.com/\n",
    "https://hooks.example.com/ x", "https://hooks.example.com\u200b/", "https://hooks.example.com\x00/",
    "https://hooks.example.com:0/", "https://hooks.example.com:99999/", "https://hooks.example.com:x/",
    "https://" + "a" * 64 + ".example/", "https://" + "a." * 130 + "example/", "https://a,b.example/",
    "https://hooks.example.com/" + "x" * 3000, "https://\ud800.example/", "https://xn--a.example\u202e/",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_refused_in_one_sentence(url: str) -> None:
    """No name server is asked to refuse these: it would say that all of them are public."""
    sentence = refused_at_once(url)
    assert sentence.endswith(".")
    assert len(sentence) < 250


@given(st.text(max_size=60) | st.text(max_size=60).map("https://{}".format))
def test_any_text_is_read_or_refused(text: str) -> None:
    """What is read has one plain host, and stays what it is when it is read again."""
    try:
        place = guard.read(text, STRICT)
    except Refused:
        return
    again = guard.read(f"{place.scheme}://{place.authority}{place.target.decode()}", STRICT)
    assert again == place


def test_a_refusal_does_not_repeat_the_secret_parts() -> None:
    """It goes into answers and logs."""
    for url in (
        "http://hooks.example.com/T0ken?k=T0ken",
        "https://u:T0ken@h.example/",
        "https://127.1/T0ken",
    ):
        assert "T0ken" not in refused_at_once(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority"),
    [
        ("https://hooks.example.com/x", "hooks.example.com", 443, "hooks.example.com"),
        ("HTTPS://Hooks.Example.COM:8443/x", "hooks.example.com", 8443, "hooks.example.com:8443"),
        ("https://bücher.example", "xn--bcher-kva.example", 443, "xn--bcher-kva.example"),
        (
            "https://[2606:2800:220:1:0:0:0:1]:444/",
            "2606:2800:220:1::1",
            444,
            "[2606:2800:220:1::1]:444",
        ),
    ],
)
def test_a_url_is_read_as_it_is_meant(url: str, host: str, port: int, authority: str) -> None:
    """Case, IDNA, default ports and brackets."""
    place = guard.read(url, STRICT)
    assert (place.host, place.port, place.authority) == (host, port, authority)


@pytest.mark.parametrize("failure", [OSError("no"), UnicodeError("label too long")])
def test_a_name_that_does_not_resolve_may_resolve_tomorrow(failure: Exception) -> None:
    """Name servers have bad days too."""

    def resolve(host: str, port: int) -> list[str]:
        raise failure

    place = guard.read("https://gone.example.com/x", STRICT)
    with pytest.raises(Refused, match=r"gone\.example\.com does not resolve") as caught:
        guard.locate(place, STRICT, resolve, 5)
    assert caught.value.result == "transient"


def test_the_machines_resolver_is_asked_for_addresses() -> None:
    """The one place that touches the system."""
    assert "127.0.0.1" in guard.system_resolve("localhost", 443)
