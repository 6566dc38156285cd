//! The address of a daemon: what of it can be connected to.
//!
//! tonic accepts every URI and fails when it connects, with an error that looks as if the daemon were
//! away. So an address is checked here, before anything is tried.

use tonic::transport::{Endpoint, Uri};

use crate::error::{Error, Result};

/// Reads `http://host:port`. Without a port it is 80, as HTTP has it.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint> {
    let uri: Uri = address
        .parse()
        .map_err(|error| refused(address, format!("is no URI ({error})")))?;
    check(&uri).map_err(|fault| refused(address, fault))?;
    Ok(Endpoint::from(uri))
}

fn check(uri: &Uri) -> Result<(), String> {
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("asks for TLS, which this client does not speak".into()),
        Some(other) => return Err(format!("has the unknown scheme {other}")),
        None => return Err("has no scheme".into()),
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Err("has no host".into());
    }
    // A port above 65535 reads as none at all, which would be 80.
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    if uri.port_u16().is_none() && host_and_port != host {
        return Err("has no valid port".into());
    }
    Ok(())
}

fn refused(address: &str, fault: impl AsRef<str>) -> Error {
    let fault = fault.as_ref();
    Error::invalid_request(format!(
        "the address {address:?} {fault}: expected http://host:port"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_over_http() {
        for address in [
            "http://127.0.0.1:7117",
            "http://[::1]:7117",
            "HTTP://trellis.internal:7117/",
            "http://localhost",
        ] {
            assert!(endpoint(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_refusal_tells_the_fault_and_what_is_expected() {
        for (address, fault) in [
            ("", "is no URI (empty string)"),
            ("127.0.0.1:7117", "has no scheme"),
            (
                "https://a:1",
                "asks for TLS, which this client does not speak",
            ),
            ("ftp://a:1", "has the unknown scheme ftp"),
            ("http://:7117", "has no host"),
            ("http://a:", "has no valid port"),
            ("http://a:99999", "has no valid port"),
            ("http://1:99991", "has no valid port"),
        ] {
            assert_eq!(
                endpoint(address).unwrap_err().message(),
                format!("the address {address:?} {fault}: expected http://host:port")
            );
        }
    }
}
