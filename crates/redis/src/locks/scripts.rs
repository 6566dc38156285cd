//! The scripts of locks: each operation over the parts of the library that it needs.

use crate::Script;
use std::sync::LazyLock;

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("../../scripts/locks/", $name, ".lua"))
    };
}

/// The parts stand in a function of their own: what a function that is made there uses of the call is found at once, and
/// not searched for among all that the script has named, which cost a tenth of the script.
macro_rules! operation {
    ($constant:ident, [$($part:literal),*]) => {
        pub(super) static $constant: LazyLock<Script> = LazyLock::new(|| {
            Script::guarded(concat!(
                lua!("call"),
                "local function body()\n",
                $(lua!($part),)*
                lua!("main"),
                "end\nreturn body()\n",
            ))
        });
    };
}

operation!(
    ACQUIRE,
    ["space", "requests", "table", "lease", "attached", "acquire"]
);
operation!(RELEASE, ["requests", "table", "lease", "release"]);
operation!(EXPIRE, ["requests", "table", "lease", "expire"]);
operation!(KEEP, ["requests", "table", "lease", "keep"]);
operation!(
    OPEN,
    [
        "space", "requests", "table", "lease", "attached", "session", "open"
    ]
);
operation!(
    SESSION,
    [
        "requests",
        "table",
        "lease",
        "attached",
        "session",
        "session_op"
    ]
);
operation!(FORCE, ["space", "requests", "table", "lease", "force"]);
operation!(LOOK, ["requests", "table", "lease", "look"]);
operation!(
    END_WAITS,
    [
        "requests",
        "table",
        "lease",
        "attached",
        "session",
        "end_waits"
    ]
);
operation!(CLAIMS, ["claims"]);
operation!(
    INHERIT,
    [
        "requests", "table", "lease", "attached", "session", "inherit"
    ]
);
operation!(
    REASSERT,
    [
        "space", "requests", "table", "lease", "attached", "session", "reassert"
    ]
);
operation!(VERIFY, ["requests", "table", "lease", "attached", "verify"]);
operation!(SERVE, ["requests", "table", "lease", "serve"]);
operation!(WATCH, ["space", "watch"]);
operation!(TELL_ENDS, ["tell_ends"]);
operation!(SWEEP, ["requests", "table", "sweep"]);

/// Ends the grace of a generation.
pub(super) static GRACE: LazyLock<Script> = LazyLock::new(|| Script::guarded(lua!("grace")));

/// The namespaces that have state.
pub(super) static NAMESPACES: LazyLock<Script> =
    LazyLock::new(|| Script::guarded(include_str!("../../scripts/limits/namespaces.lua")));
