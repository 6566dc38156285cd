//! Everything the provider counts.

use crate::workload::Endpoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one endpoint counted, by caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Per name that callers gave.
    pub callers: BTreeMap<String, Counts>,
}

/// What one caller did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls admitted, each of them paid.
    pub calls: u64,
    /// Calls refused with 429: the violations of the limit.
    pub refused: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// What the calls cost, in 10^-9 dollars.
    pub nano_dollars: u64,
}

impl Ledger {
    /// Callers beyond this many share one name, so that callers cannot fill the memory.
    const MAX_CALLERS: usize = 64;

    fn of(&mut self, caller: &str) -> &mut Counts {
        let known = self.callers.contains_key(caller);
        let caller = if known || self.callers.len() < Self::MAX_CALLERS {
            caller
        } else {
            "others"
        };
        self.callers.entry(caller.to_owned()).or_default()
    }

    /// Counts a refusal.
    pub fn refuse(&mut self, caller: &str) {
        self.of(caller).refused += 1;
    }

    /// Counts an admitted call and its price.
    pub fn admit(&mut self, caller: &str, endpoint: &Endpoint, input: u64, output: u64) {
        let counts = self.of(caller);
        counts.calls += 1;
        counts.input_tokens += input;
        counts.output_tokens += output;
        counts.nano_dollars += input * endpoint.price_nano_dollars_per_input_token
            + output * endpoint.price_nano_dollars_per_output_token;
    }

    /// The sum over all callers.
    pub fn total(&self) -> Counts {
        self.callers
            .values()
            .fold(Counts::default(), |sum, counts| Counts {
                calls: sum.calls + counts.calls,
                refused: sum.refused + counts.refused,
                input_tokens: sum.input_tokens + counts.input_tokens,
                output_tokens: sum.output_tokens + counts.output_tokens,
                nano_dollars: sum.nano_dollars + counts.nano_dollars,
            })
    }
}
