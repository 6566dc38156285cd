//! The scripts with the test's time.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
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
    "rate" "window" "calendar" "slots" "withheld" "bucket" "store" "losses" "requests" "fair" "queue" "line" "schedule" "reservations" "charges" "leases" "shares" "looking"
);

const OPERATIONS: &[(&str, &str)] = &modules!(
    "acquire" "serve" "leave" "give_back" "settle" "extend" "peek" "set_limit" "delete_limit"
    "reset_limit" "report_throttled" "list_limits" "list_buckets" "sweep" "lease" "lease_return" "reassert"
);

/// What daemons tell each other comes with the reply, so that the test knows when it has all.
const PUBLISH: &str = "redis.call('PUBLISH', env.mailbox .. daemon, cmsgpack.pack(message))";
const COLLECT: &str = "published[#published + 1] = {daemon, message}";

/// The daemons, of which a run uses the first ones.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// The store's time, told by the test.
const CLOCK: &str = "local function store_time() return tonumber(ARGV[6]) end\n";

/// A piece of the scripts and what it is replaced by: a rule that is broken on purpose.
pub type Mutation = (&'static str, &'static str);

fn script(operation: &str, mutation: Option<Mutation>) -> &'static Script {
    let mut text = [CLOCK, lua!("call"), "local function body()\n", lua!("num")].concat();
    for (module, body) in MODULES {
        let _ = writeln!(text, "library({module}, function()\n{body}\nend)");
    }
    text.push_str(operation);
    assert!(lua!("main").contains(PUBLISH));
    text.push_str("\nlocal published = {}\n");
    let main = lua!("main").replace(PUBLISH, COLLECT);
    text.push_str(&main.replace("results, looks}", "results, looks, published}"));
    text.push_str("\nend\nreturn body()\n");
    if let Some((piece, instead)) = mutation {
        assert!(text.contains(piece), "the scripts have no {piece:?}");
        text = text.replace(piece, instead);
    }
    Box::leak(Box::new(Script::guarded(&text)))
}

/// The daemons' calls of the scripts in one namespace.
pub struct Scripts {
    /// Each with its incarnation.
    daemons: Vec<(Store, u64)>,
    operations: HashMap<&'static str, &'static Script>,
    namespace: String,
    /// Spans in which shares are withheld, as the scripts take them; `false` for none.
    pub withheld: Value,
    /// When data may have been lost, and what unknown buckets count as since.
    pub lost: Value,
    pub after_loss: u8,
}

impl Scripts {
    pub fn new(daemons: &[(Store, u64)], namespace: &str, mutation: Option<Mutation>) -> Self {
        Self {
            daemons: daemons.to_vec(),
            operations: OPERATIONS
                .iter()
                .map(|(name, text)| (*name, script(text, mutation)))
                .collect(),
            namespace: namespace.to_owned(),
            withheld: json!(false),
            lost: json!(false),
            after_loss: 0,
        }
    }

    pub fn count(&self) -> usize {
        self.daemons.len()
    }

    pub fn ticket(&self, daemon: usize, number: usize) -> String {
        format!("{}-{number}", self.daemons[daemon].1)
    }

    /// Whose ticket it is.
    pub fn daemon_of(&self, ticket: &str) -> usize {
        let of = |(_, life): &(Store, u64)| ticket.starts_with(&format!("{life}-"));
        self.daemons.iter().position(of).unwrap()
    }

    /// Calls an operation at a time; answers with the script's whole reply.
    pub async fn call(
        &self,
        daemon: usize,
        operation: &'static str,
        args: Vec<Value>,
        now: u64,
    ) -> Value {
        let mut periods = Vec::new();
        for _ in 0..8 {
            let reply = self
                .call_once((daemon, operation), &args, now, &periods)
                .await;
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
        (daemon, operation): (usize, &'static str),
        args: &[Value],
        now: u64,
        periods: &[Value],
    ) -> Value {
        let (store, _) = &self.daemons[daemon];
        let keys = store.keys();
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
            self.withheld,
            periods,
            1_000_000,
            self.namespace,
            self.lost,
            self.after_loss,
            5_000_000,
        ]);
        let call = Call::new(self.operations[operation])
            .key(keys.of("limits", &[&self.namespace]))
            .key(keys.of("limits-namespaces", &[]))
            .bytes(rmp_serde::to_vec(&env).unwrap().into())
            .bytes(rmp_serde::to_vec(args).unwrap().into())
            .number(now);
        match store.call(call).await {
            Ok(Reply::Bytes(bytes)) => rmp_serde::from_slice(&bytes).unwrap(),
            other => panic!("{operation} {args:?}: {other:?}"),
        }
    }
}

/// Which daemon has that name.
pub fn daemon_named(name: &str) -> usize {
    NAMES.iter().position(|other| *other == name).unwrap()
}
