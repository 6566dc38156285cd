//! Awaiting a call builder sends it: `.await` is short for `.send().await`.
//!
//! Every builder whose call has one answer is here, so that the rule holds for all of them. A list
//! has several ways to be read, so it is not here.

use std::future::IntoFuture;

use futures::future::BoxFuture;

use crate::acquire::Acquire;
use crate::acquired::Acquired;
use crate::bucket::{ReportThrottled, Reset, ResetLimit, Throttled};
use crate::definition::{Declared, DeleteLimit, Deleted, SetLimit};
use crate::error::Result;
use crate::extend::{Extend, Extended};
use crate::jobs::{Submit, Submitted};

macro_rules! awaited {
    ($($call:ty => $answer:ty),* $(,)?) => {$(
        impl IntoFuture for $call {
            type Output = Result<$answer>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.send())
            }
        }
    )*};
}

awaited! {
    Acquire => Acquired,
    SetLimit => Declared,
    DeleteLimit => Deleted,
    ResetLimit => Reset,
    ReportThrottled => Throttled,
}

/// By hand, because a job can be sent again, and so does not end with being sent.
impl IntoFuture for Submit {
    type Output = Result<Submitted>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.send().await })
    }
}

/// By hand, because it borrows the guard that it renews.
impl<'a> IntoFuture for Extend<'a> {
    type Output = Result<Extended>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
