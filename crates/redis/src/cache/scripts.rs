//! The scripts of the cache: each operation over the same library.

use crate::Script;
use std::sync::LazyLock;

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("../../scripts/cache/", $name, ".lua"))
    };
}

macro_rules! operation {
    ($constant:ident, $name:literal) => {
        pub(super) static $constant: LazyLock<Script> = LazyLock::new(|| {
            Script::guarded(concat!(
                lua!("call"),
                lua!("space"),
                lua!("fence"),
                lua!("entry"),
                lua!("failure"),
                lua!("flight"),
                lua!($name),
                lua!("main"),
            ))
        });
    };
}

operation!(BEGIN, "begin");
operation!(APPEND, "append");
operation!(FILL, "fill");
operation!(FAIL, "fail");
operation!(RENEW, "renew");
operation!(LOOK, "look");
operation!(LET_GO, "let_go");
operation!(SET, "set");
operation!(DELETE, "delete");
operation!(CLEAR, "clear");
operation!(STATS, "stats");
operation!(SWEEP, "sweep");

/// The roots of the namespaces in use.
pub(super) static SPACES: LazyLock<Script> = LazyLock::new(|| Script::guarded(lua!("spaces")));
