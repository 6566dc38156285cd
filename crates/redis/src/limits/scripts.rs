//! The scripts of limits: each operation over the same library.

use crate::Script;
use std::sync::LazyLock;

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("../../scripts/limits/", $name, ".lua"))
    };
}

macro_rules! library {
    ($name:literal) => {
        concat!(
            "library(",
            $name,
            ", function()\n",
            include_str!(concat!("../../scripts/limits/", $name, ".lua")),
            "\nend)\n"
        )
    };
}

/// An operation behind the library. What a library defines is made when it is first needed, see `call.lua`.
macro_rules! operation {
    ($constant:ident, $name:literal) => {
        pub(super) static $constant: LazyLock<Script> = LazyLock::new(|| {
            Script::guarded(concat!(
                lua!("call"),
                "local function body()\n",
                lua!("num"),
                library!("rate"),
                library!("window"),
                library!("calendar"),
                library!("slots"),
                library!("withheld"),
                library!("bucket"),
                library!("store"),
                library!("losses"),
                library!("requests"),
                library!("fair"),
                library!("queue"),
                library!("line"),
                library!("schedule"),
                library!("reservations"),
                library!("charges"),
                library!("leases"),
                library!("shares"),
                library!("looking"),
                lua!($name),
                lua!("main"),
                "\nend\nreturn body()\n"
            ))
        });
    };
}

operation!(ACQUIRE, "acquire");
operation!(SERVE, "serve");
operation!(LEAVE, "leave");
operation!(GIVE_BACK, "give_back");
operation!(SETTLE, "settle");
operation!(EXTEND, "extend");
operation!(PEEK, "peek");
operation!(SET_LIMIT, "set_limit");
operation!(DELETE_LIMIT, "delete_limit");
operation!(RESET_LIMIT, "reset_limit");
operation!(REPORT_THROTTLED, "report_throttled");
operation!(LIST_LIMITS, "list_limits");
operation!(LIST_BUCKETS, "list_buckets");
operation!(SWEEP, "sweep");
operation!(LEASE, "lease");
operation!(LEASE_RETURN, "lease_return");
operation!(MERGE, "merge");
operation!(JOINED, "joined");
operation!(REASSERT, "reassert");

/// The namespaces that have state.
pub(super) static NAMESPACES: LazyLock<Script> =
    LazyLock::new(|| Script::guarded(lua!("namespaces")));
