//! Lists, a page at a time. A page stops at its number of items, or where its message would grow too
//! large for a stock client, and its token names the last item shown.

use super::limits::{bucket_state, limit_state};
use super::{Context, scope};
use trellis_core::limits::{BucketPage, LimitPage, ListBuckets, ListLimits};
use trellis_core::{Error, Key, Name, Namespace, Result};
use trellis_proto::{MAX_MESSAGE_BYTES, v1};

const MAX_PAGE: usize = 1_000;
const DEFAULT_PAGE: usize = 100;

pub(super) fn page_size(size: i32) -> Result<usize> {
    match usize::try_from(size) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) if size <= MAX_PAGE => Ok(size),
        _ => Err(Error::invalid(
            "page_size",
            format!("must be 0 to {MAX_PAGE}, is {size}"),
        )),
    }
}

/// What stands before the last name of a page in its token: whose page it is, so that no other list
/// takes it for its own.
pub(crate) fn limits_token(namespace: &Namespace) -> String {
    format!("limits/{namespace}/")
}

/// As [`limits_token`], for the buckets of a limit.
pub(crate) fn buckets_token(namespace: &Namespace, limit: &Name) -> String {
    format!("buckets/{namespace}/{limit}/")
}

/// The last name of the former page; `None` for the first page.
pub(super) fn page_after<T>(
    token: &str,
    owner: &str,
    name: impl Fn(&str, &str) -> Result<T>,
) -> Result<Option<T>> {
    if token.is_empty() {
        return Ok(None);
    }
    let after = token
        .strip_prefix(owner)
        .and_then(|last| name(last, "page_token").ok());
    after.map(Some).ok_or_else(|| {
        Error::invalid(
            "page_token",
            "must be empty or the next_page_token of the former answer to the same list",
        )
    })
}

pub(crate) fn list_limits(
    request: v1::ListLimitsRequest,
    context: &Context<'_>,
) -> Result<ListLimits> {
    let namespace = context.namespace(request.namespace)?;
    let owner = limits_token(&namespace);
    let after = page_after(&request.page_token, &owner, |name, field| {
        Name::new(name, field)
    })?;
    Ok(ListLimits {
        namespace,
        page_size: page_size(request.page_size)?,
        after,
    })
}

pub(crate) fn list_buckets(
    request: v1::ListBucketsRequest,
    context: &Context<'_>,
) -> Result<ListBuckets> {
    let namespace = context.namespace(request.namespace)?;
    let limit = Name::new(request.limit, "limit")?;
    let owner = buckets_token(&namespace, &limit);
    let after = page_after(&request.page_token, &owner, |key, field| {
        Key::new(key, field)
    })?;
    Ok(ListBuckets {
        namespace,
        limit,
        page_size: page_size(request.page_size)?,
        after,
    })
}

/// Cuts a page where its message would grow too large. Tells whether it did.
fn cut<T: prost::Message>(items: &mut Vec<T>) -> bool {
    // A tag and a length come before each item; the rest of the message is small.
    let mut budget = MAX_MESSAGE_BYTES - 4_096;
    let fits = items.iter().take_while(|item| {
        let size = item.encoded_len() + 8;
        let fits = size <= budget;
        budget = budget.saturating_sub(size);
        fits
    });
    let fits = fits.count();
    let cut = fits < items.len();
    items.truncate(fits);
    cut
}

/// The first items that fit one message, and whether that is not all. Makes no more than it returns.
pub(super) fn fitting<T: prost::Message>(items: impl IntoIterator<Item = T>) -> (Vec<T>, bool) {
    let mut budget = MAX_MESSAGE_BYTES - 4_096;
    let mut fitting = Vec::new();
    for item in items {
        let size = item.encoded_len() + 8;
        if size > budget {
            return (fitting, true);
        }
        budget -= size;
        fitting.push(item);
    }
    (fitting, false)
}

pub(crate) fn limit_page(page: LimitPage, token: &str) -> v1::ListLimitsResponse {
    let mut limits: Vec<_> = page.limits.into_iter().map(limit_state).collect();
    let more = cut(&mut limits) || page.more;
    let last = limits.last().filter(|_| more);
    v1::ListLimitsResponse {
        next_page_token: last
            .map(|last| format!("{token}{}", last.name))
            .unwrap_or_default(),
        limits,
        scope: Some(scope(&page.scope)),
    }
}

pub(crate) fn bucket_page(page: BucketPage, token: &str) -> v1::ListBucketsResponse {
    let mut buckets: Vec<_> = page.buckets.into_iter().map(bucket_state).collect();
    let more = cut(&mut buckets) || page.more;
    let last = buckets.last().filter(|_| more);
    v1::ListBucketsResponse {
        next_page_token: last
            .map(|last| format!("{token}{}", last.key))
            .unwrap_or_default(),
        buckets,
        scope: Some(scope(&page.scope)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServiceConfig;

    #[test]
    fn a_token_is_taken_by_the_list_that_gave_it_and_no_other() {
        let namespace = |name: &str| Namespace::new(name, "namespace").unwrap();
        let home = namespace("home");
        let context = Context {
            config: &ServiceConfig::default(),
            namespace: &home,
            deadline: None,
        };
        let limit = Name::new("l", "limit").unwrap();
        let limits = |page_token| {
            let request = v1::ListLimitsRequest {
                page_token,
                ..Default::default()
            };
            list_limits(request, &context).map(|list| list.after.map(String::from))
        };
        let after = |token: String| format!("{token}x");
        let own = limits(after(limits_token(&home)));
        assert_eq!(own, Ok(Some("x".to_owned())));
        assert_eq!(limits(String::new()), Ok(None));
        for foreign in [
            after(limits_token(&namespace("elsewhere"))),
            after(buckets_token(&home, &limit)),
            limits_token(&home),
            "x".to_owned(),
        ] {
            let error = limits(foreign).unwrap_err();
            assert_eq!(error.violation.unwrap().field, "page_token");
        }
    }
}
