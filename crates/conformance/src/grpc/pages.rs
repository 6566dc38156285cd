//! Pages of the port over those of the contract.
//!
//! The port names the last item of the former page; the contract has an opaque token that only the
//! daemon reads. So the tokens of pages are kept by the item that they follow.

use parking_lot::Mutex;
use std::collections::HashMap;
use trellis_core::{Error, ErrorCode, Namespace, Result};

/// A list, and the last item of one of its pages.
type Place = (Namespace, String, String);

/// The tokens of the pages that were read.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<HashMap<Place, String>>);

impl Pages {
    /// The token of the page after the one that ends with `end`; nothing for the first page.
    pub fn token(
        &self,
        namespace: &Namespace,
        list: &str,
        end: Option<&str>,
    ) -> Result<Option<String>> {
        let Some(end) = end else { return Ok(None) };
        let place = (namespace.clone(), list.to_owned(), end.to_owned());
        let missing = || Error::new(ErrorCode::Internal, format!("no page ended with {end:?}"));
        self.0
            .lock()
            .get(&place)
            .cloned()
            .ok_or_else(missing)
            .map(Some)
    }

    /// Keeps the token of the page after the one that ends with `end`; tells whether there is one.
    pub fn keep(
        &self,
        namespace: Namespace,
        list: &str,
        end: Option<&str>,
        token: Option<String>,
    ) -> bool {
        let more = token.is_some();
        if let (Some(end), Some(token)) = (end, token) {
            let place = (namespace, list.to_owned(), end.to_owned());
            self.0.lock().insert(place, token);
        }
        more
    }
}
