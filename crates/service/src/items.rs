//! Calls of several items, each answered by itself.

use trellis_core::{Error, ErrorCode, Result};

/// Refuses another number of items than is allowed, before any work.
pub(crate) fn check_count(field: &str, items: usize, max: usize) -> Result<()> {
    if items == 0 || items > max {
        let allowed = format!("must be 1 to {max}, are {items}");
        return Err(Error::invalid(field, allowed));
    }
    Ok(())
}

/// Items that are well formed, and for each of all why it is not.
pub(crate) fn apart<I, T>(
    field: &str,
    items: Vec<I>,
    mut convert: impl FnMut(I) -> Result<T>,
) -> (Vec<T>, Vec<Option<Error>>) {
    let mut good = Vec::with_capacity(items.len());
    let refused = items.into_iter().enumerate().map(|(index, item)| {
        let converted = convert(item);
        let error = converted.map(|item| good.push(item)).err();
        error.map(|error| error.within(format_args!("{field}[{index}]")))
    });
    let refused = refused.collect();
    (good, refused)
}

/// What became of all items: those that were well formed were told, in order.
pub(crate) fn together<T>(
    told: Vec<Result<T>>,
    refused: Vec<Option<Error>>,
) -> impl Iterator<Item = Result<T>> {
    let mut told = told.into_iter();
    refused.into_iter().map(move |refused| match refused {
        Some(error) => Err(error),
        None => told.next().unwrap_or_else(|| Err(unanswered())),
    })
}

/// A port that answers fewer items than it was given.
pub(crate) fn unanswered() -> Error {
    Error::new(ErrorCode::Internal, "an item was not answered")
}
