//! The scripts with the test's time.

use serde_json::{Value, json};
use std::collections::HashMap;
use trellis_redis::{Call, Reply, Script, Store};

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("../../scripts/limits/", $name, ".lua"))
    };
}

macro_rules! modules {
    ($($name:literal)+) => {
        [$(($name, lua!($name))),+]
    };
}

const MODULES: &[(&str, &str)] = &modules!(
    "rate" "window" "calendar" "slots" "bucket" "store" "requests" "fair" "line" "reservations" "charges" "looking"
);

const OPERATIONS: &[(&str, &str)] = &modules!(
    "acquire" "serve" "leave" "give_back" "settle" "extend" "peek" "set_limit" "delete_limit"
    "reset_limit" "report_throttled" "list_limits" "list_buckets" "sweep"
);

/// The store's time, told by the test.
const CLOCK: &str = "local function store_time() return tonumber(ARGV[5]) end\n";

fn script(operation: &str) -> &'static Script {
    let mut text = [CLOCK, lua!("call"), "local function body()\n", lua!("num")].concat();
    for (module, body) in MODULES {
        text.push_str(&format!("library({module}, function()\n{body}\nend)\n"));
    }
    text.push_str(operation);
    text.push_str(lua!("main"));
    text.push_str("\nend\nreturn body()\n");
    Box::leak(Box::new(Script::guarded(&text)))
}

/// One daemon's calls of the scripts in one namespace.
pub struct Scripts {
    store: Store,
    scripts: HashMap<&'static str, &'static Script>,
    incarnation: u64,
    namespace: String,
}

impl Scripts {
    pub fn new(store: &Store, incarnation: u64, namespace: &str) -> Self {
        Self {
            store: store.clone(),
            scripts: OPERATIONS
                .iter()
                .map(|(name, text)| (*name, script(text)))
                .collect(),
            incarnation,
            namespace: namespace.to_owned(),
        }
    }

    pub fn ticket(&self, number: usize) -> String {
        format!("{}-{number}", self.incarnation)
    }

    /// Calls an operation at a time; answers with the script's whole reply.
    pub async fn call(&self, operation: &'static str, args: Vec<Value>, now: u64) -> Value {
        let mut periods = Vec::new();
        for _ in 0..8 {
            let reply = self.call_once(operation, &args, now, &periods).await;
            if reply[0] != "period" {
                return reply;
            }
            assert_eq!((&reply[2], &reply[3]), (&json!(0), &json!("UTC")));
            let start = now / 60_000_000 * 60_000_000;
            periods.push(json!([0, "UTC", start, start + 60_000_000]));
        }
        panic!("{operation} goes on asking for a period");
    }

    async fn call_once(
        &self,
        operation: &'static str,
        args: &[Value],
        now: u64,
        periods: &[Value],
    ) -> Value {
        let keys = self.store.keys();
        let day = 600_000_000;
        let env = json!([
            100,
            1_000,
            super::run::MAX_WAITERS,
            super::run::MAX_RESERVATIONS,
            1_000,
            100_000,
            day,
            day,
            60_000_000,
            keys.mailbox(""),
            "",
            periods,
            1_000_000,
            self.namespace,
        ]);
        let mut blob = vec![env];
        blob.extend_from_slice(args);
        let call = Call::new(self.scripts[operation])
            .key(keys.of("limits", &[&self.namespace]))
            .key(keys.of("limits-namespaces", &[]))
            .bytes(rmp_serde::to_vec(&blob).unwrap().into())
            .number(now);
        match self.store.call(call).await {
            Ok(Reply::Bytes(bytes)) => rmp_serde::from_slice(&bytes).unwrap(),
            other => panic!("{operation} {args:?}: {other:?}"),
        }
    }
}
