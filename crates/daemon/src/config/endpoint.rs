//! Hosts, `host:port` pairs and URLs, as far as their text tells: nothing is looked up.

use super::allowed::is_word;
use std::net::Ipv6Addr;

const MAX_HOST: usize = 253;

/// Whether it is a name or an IP address and nothing else. Only an IPv6 address holds colons.
pub(super) fn is_host(text: &str) -> bool {
    is_name(text) || text.parse::<Ipv6Addr>().is_ok()
}

/// Whether it is `host:port`, with brackets around an IPv6 address.
pub(super) fn is_server(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_url_host(host) && is_port(port))
}

/// Whether it is a URL with one of these schemes, a host and, where it has a port, a possible one.
pub(super) fn is_url(text: &str, schemes: &[&str]) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let place = authority.rsplit('@').next().unwrap_or(authority);
        schemes.contains(&scheme) && (is_url_host(place) || is_server(place))
    })
}

fn is_url_host(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => is_name(text),
    }
}

fn is_name(text: &str) -> bool {
    is_word(text, "._-", MAX_HOST)
}

fn is_port(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_port() {
        for host in ["redis", "10.0.0.7", "a_b.example-1", "::1", "fe80::1:2"] {
            assert!(is_host(host), "{host}");
        }
        for other in [
            "",
            "a:b",
            "redis:6379",
            "10.0.0.7:6379",
            ":",
            "[::1]",
            "a b",
        ] {
            assert!(!is_host(other), "{other}");
        }
    }

    #[test]
    fn a_server_has_a_host_and_a_port() {
        for server in ["a:9092", "10.0.0.7:1", "[::1]:65535"] {
            assert!(is_server(server), "{server}");
        }
        for other in [
            "a", "a:0", "a:65536", "a:+1", "a:b:1", "::1:9092", "[a]:1", "[::1]", ":9092", "a b:1",
        ] {
            assert!(!is_server(other), "{other}");
        }
    }

    #[test]
    fn a_url_has_a_known_scheme_a_host_and_a_possible_port() {
        for rest in [
            "host",
            "host/0",
            "host:6379/0?protocol=resp3",
            "user:p%40ss:w@rd@host:65535",
            ":secret@[::1]:6379",
            "[::1]/1",
        ] {
            assert!(is_url(&format!("redis://{rest}"), &["redis"]), "{rest}");
        }
        for rest in [
            "",
            "host:99999",
            "host:0",
            "host:",
            "host:x/0",
            ":6379",
            "user@/0",
            "::1",
            "a:b:1",
        ] {
            assert!(!is_url(&format!("redis://{rest}"), &["redis"]), "{rest}");
        }
        assert!(!is_url("http://host", &["redis"]));
    }
}
