//! What is sent and what is answered.
//!
//! The echo knows its answers beforehand; they are as long as those of the daemon, which is checked.

use crate::load::Connections;
use prost::Message as _;
use prost_types::Duration;
use trellis_proto::v1::{self, AcquireRequest, AcquireResponse, Outcome, limit_spec::Kind};
use trellis_tests::bench::Result;

/// Limits that are declared.
pub const LIMITS: usize = 10_000;

/// The namespace of all limits.
pub const NAMESPACE: &str = "bench";

/// More than any round takes.
const BURST: i64 = 1_000_000_000_000;

/// The requests of a load, sent in turn, and what becomes of each; `None` where some are granted and
/// some denied.
pub struct Work {
    pub requests: Vec<AcquireRequest>,
    outcome: Option<Outcome>,
}

impl Work {
    pub fn of(request: AcquireRequest, outcome: Outcome) -> Self {
        Self {
            requests: vec![request],
            outcome: Some(outcome),
        }
    }

    /// One limit that grants what it can.
    pub fn any(limit: &str) -> Self {
        Self {
            requests: vec![acquire([limit.to_owned()])],
            outcome: None,
        }
    }

    /// 1 for a grant, 0 for a denial; an error for what should not be.
    pub fn granted(&self, answer: &AcquireResponse) -> Result<u64> {
        let outcome = answer.outcome();
        let either = matches!(outcome, Outcome::Granted | Outcome::Denied);
        if self.outcome.map_or(either, |wanted| wanted == outcome) {
            return Ok(u64::from(outcome == Outcome::Granted));
        }
        Err(format!("{outcome:?}, not {:?}", self.outcome).into())
    }

    /// The same so many limits in every request.
    pub fn admitted(charges: usize) -> Self {
        Self::of(acquire((0..charges).map(limit)), Outcome::Granted)
    }

    /// One limit in every request, all of them by turns. The order is far from that of declaration.
    pub fn spread() -> Self {
        let names = (0..LIMITS).map(|number| limit(number * 7_919 % LIMITS));
        Self {
            requests: names.map(|name| acquire([name])).collect(),
            outcome: Some(Outcome::Granted),
        }
    }
}

/// A call that is never admitted: its limit has been used up.
pub fn denied() -> AcquireRequest {
    acquire([DENIED.to_owned()])
}

const DENIED: &str = "limit-used0";

/// The name of a limit.
pub fn limit(number: usize) -> String {
    format!("limit-{number:05}")
}

fn acquire(limits: impl IntoIterator<Item = String>) -> AcquireRequest {
    let charge = |limit| v1::Charge {
        limit,
        amount: 1,
        ..Default::default()
    };
    AcquireRequest {
        namespace: NAMESPACE.into(),
        charges: limits.into_iter().map(charge).collect(),
        mode: v1::AcquireMode::Try.into(),
        ..Default::default()
    }
}

fn rate(amount: i64, period: i64, burst: i64) -> v1::LimitSpec {
    let period = Some(Duration {
        seconds: period,
        nanos: 0,
    });
    v1::LimitSpec {
        kind: Some(Kind::Rate(v1::RateSpec {
            amount,
            period,
            burst: Some(burst),
        })),
    }
}

/// A generous limit.
pub fn set_limit(name: String) -> v1::SetLimitRequest {
    v1::SetLimitRequest {
        namespace: NAMESPACE.into(),
        name,
        spec: Some(rate(1_000_000, 1, BURST)),
        ..Default::default()
    }
}

/// A generous limit of which daemons take no slices.
pub fn exact(name: String) -> v1::SetLimitRequest {
    v1::SetLimitRequest {
        sharing: v1::Sharing::Exact.into(),
        ..set_limit(name)
    }
}

/// A limit of so many a second.
pub fn hot(name: &str, amount: u32, burst: u32) -> v1::SetLimitRequest {
    v1::SetLimitRequest {
        spec: Some(rate(amount.into(), 1, burst.into())),
        ..set_limit(name.into())
    }
}

/// The answer of the echo.
pub fn answer() -> AcquireResponse {
    let charge = v1::ChargeResult {
        remaining: BURST - 1,
        retry_after: None,
        spec: Some(rate(1_000_000, 1, BURST)),
        source: v1::SpecSource::SetLimit.into(),
        spec_replaced: false,
    };
    let scope = v1::Scope {
        kind: v1::ScopeKind::Local.into(),
        ..Default::default()
    };
    AcquireResponse {
        outcome: Outcome::Granted.into(),
        charges: vec![charge],
        scope: Some(scope),
        ..Default::default()
    }
}

/// Declares the limits that [`Work`] names, and uses one of them up.
pub async fn declare(trellis: &Connections) -> Result<()> {
    trellis
        .declare((0..LIMITS).map(|number| set_limit(limit(number))))
        .await?;
    let used = v1::SetLimitRequest {
        spec: Some(rate(1, 3_600, 1)),
        ..set_limit(DENIED.into())
    };
    trellis.declare([used]).await?;
    let mut client = trellis.client(0);
    for outcome in [Outcome::Granted, Outcome::Denied] {
        let answer = client.acquire(denied()).await?.into_inner();
        if answer.outcome() != outcome {
            return Err(format!("{DENIED} answers {:?}, not {outcome:?}", answer.outcome()).into());
        }
    }
    Ok(())
}

/// The encoded sizes, in words; an error when the two servers' answers differ in length.
pub async fn compare_sizes(echo: &Connections, trellis: &Connections) -> Result<Vec<String>> {
    let one = acquire([limit(0)]);
    let mut sizes = Vec::new();
    for side in [echo, trellis] {
        let answer = side.client(0).acquire(one.clone()).await?.into_inner();
        sizes.push(answer.encoded_len());
    }
    if sizes[0] != sizes[1] {
        return Err(format!("the echo answers {} bytes, trellisd {}", sizes[0], sizes[1]).into());
    }
    let four = acquire((0..4).map(limit));
    let mut client = trellis.client(0);
    let (to_four, to_denied) = (
        client.acquire(four.clone()).await?.into_inner(),
        client.acquire(denied()).await?.into_inner(),
    );
    let (one, four) = (one.encoded_len(), four.encoded_len());
    let (granted, refused) = (sizes[0], to_denied.encoded_len());
    let to_four = to_four.encoded_len();
    Ok(vec![format!(
        "encoded bytes: acquire {one} and answer {granted} on both servers; four charges {four} and \
         {to_four}; a denial {refused}"
    )])
}
